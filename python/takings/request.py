"""The capture request as types: Klarna's fields under Klarna's names.

They are plain dicts; the types are for editors and type checkers. What is right and wrong is
decided when a capture is called: amounts are `int`s in minor units (60.00 is 6000), an
unknown field, a `float` or a `str` for a number is refused, and so is `None`: leave an
optional field out.
"""

from typing import Literal, TypedDict

__all__ = ["CaptureRequest", "OrderLine", "ProductIdentifiers", "ShippingInfo", "Subscription"]


class ProductIdentifiers(TypedDict, total=False):
    """What identifies a product outside the shop. Every field may be absent."""

    brand: str
    """At most 70 characters."""
    category_path: str
    """The categories from general to special, joined by ` > `, at most 750 characters."""
    global_trade_item_number: str
    """EAN, GTIN, ISBN or UPC, at most 50 characters."""
    manufacturer_part_number: str
    """At most 70 characters."""
    color: str
    """At most 64 characters."""
    size: str
    """At most 64 characters."""


class Subscription(TypedDict):
    """The subscription an order line belongs to."""

    name: str
    """At most 255 characters."""
    interval: Literal["DAY", "WEEK", "MONTH", "YEAR"]
    """The unit of `interval_count`."""
    interval_count: int
    """How many intervals lie between two payments, 1 or more."""


# typing.Required is there from Python 3.11 on; until then the required fields are a base.
class _OrderLineRequired(TypedDict):
    name: str
    """What the line is for, at most 255 characters."""
    quantity: int
    """How many, 0 or more. Whole units only: sell 1.5 kg as 1500 g, or as quantity 1."""
    unit_price: int
    """Price of one unit in minor units, tax included, before discount: at most 200,000,000;
    negative on discounts."""
    total_amount: int
    """The line's total in minor units, tax and discount included: at most 200,000,000;
    negative on discounts."""


class OrderLine(_OrderLineRequired, total=False):
    """One line of the order, as the customer sees it.

    `total_amount` is `quantity * unit_price - total_discount_amount`; the setting `check_lines`
    says what is done about a line that does not add up.
    """

    type: str
    """`physical`, `discount`, `shipping_fee`, `sales_tax`, `store_credit`, `gift_card`,
    `digital`, `surcharge` or `return_fee`; others with the setting `accept_unknown_values`."""
    reference: str
    """Article number, at most 255 characters. Must be the same in captures and refunds for
    Klarna to assign a refund to the right capture."""
    quantity_unit: str
    """The unit of `quantity`, such as `kg` or `pcs`, at most 10 characters."""
    tax_rate: int
    """Tax rate in hundredths of a percent: 25 % is 2500."""
    total_discount_amount: int
    """Discount of the whole line in minor units, tax included: 0 to 200,000,000."""
    total_tax_amount: int
    """Tax contained in `total_amount`, in minor units: at most 200,000,000; negative on
    discounts."""
    merchant_data: str
    """Your own data, at most 1024 characters."""
    product_url: str
    """The product's page, at most 1024 characters."""
    image_url: str
    """A picture of the product, at most 1024 characters."""
    product_identifiers: ProductIdentifiers
    """What identifies the product elsewhere."""
    subscription: Subscription
    """The subscription the line belongs to."""


class ShippingInfo(TypedDict, total=False):
    """How one consignment travels.

    Every field may be absent; Klarna follows the parcel only when company and tracking number
    are there.
    """

    shipping_company: str
    """The carrier, best as its name on Klarna's list of carriers, at most 100 characters."""
    shipping_method: str
    """`PickUpStore`, `Home`, `BoxReg`, `BoxUnreg`, `PickUpPoint`, `Own`, `Postal`,
    `DHLPackstation`, `Digital`, `Undefined`, `PickUpWarehouse`, `ClickCollect` or
    `PalletDelivery`; others with the setting `accept_unknown_values`."""
    tracking_number: str
    """At most 100 characters. Klarna checks it later; a wrong one does not fail the call."""
    tracking_uri: str
    """Where the customer follows the parcel, at most 1024 characters."""
    return_shipping_company: str
    """The carrier of a return, at most 100 characters."""
    return_tracking_number: str
    """The tracking number of a return, at most 100 characters."""
    return_tracking_uri: str
    """Where the customer follows the return, at most 1024 characters."""


class _CaptureRequestRequired(TypedDict):
    captured_amount: int
    """How much is captured, in minor units (60.00 is 6000), tax included: 1 to 200,000,000.
    Klarna refuses more than the order's remaining authorized amount."""


class CaptureRequest(_CaptureRequestRequired, total=False):
    """What is captured: the body of Klarna's capture call.

    A full and a partial capture are the same call; they differ in `captured_amount`. The
    order's currency applies.
    """

    reference: str
    """Your own name for this capture, at most 255 characters. It ends up in Klarna's settlement
    files, and a unique one lets a capture be found again."""
    description: str
    """Shown to the customer, at most 255 characters."""
    order_lines: list[OrderLine]
    """What the captured amount is for, at most 1000 lines."""
    shipping_info: list[ShippingInfo]
    """How the goods travel, at most 500 entries. Klarna expects it for physical goods."""
    shipping_delay: int
    """Days until the goods are shipped, 0 or more. Above 0 only for accounts with that
    feature."""
