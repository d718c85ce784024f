"""Requests from Python's values: what arrives at Klarna, and what is refused."""

from __future__ import annotations

import enum
import json
import sys
from collections import OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
import takings
from conftest import Sandbox

EVERY_FIELD: takings.CaptureRequest = {
    "captured_amount": 6000,
    "reference": "parcel-1",
    "description": "Größe 42 🍅",
    "order_lines": [
        {
            "type": "physical",
            "reference": "123050",
            "name": "Tomatoes",
            "quantity": 10,
            "quantity_unit": "kg",
            "unit_price": 700,
            "tax_rate": 2500,
            "total_amount": 6000,
            "total_discount_amount": 1000,
            "total_tax_amount": 1200,
            "merchant_data": "{}",
            "product_url": "https://shop.example/tomatoes",
            "image_url": "https://shop.example/tomatoes.png",
            "product_identifiers": {
                "brand": "Garden",
                "category_path": "Food > Vegetables",
                "global_trade_item_number": "735858293167",
                "manufacturer_part_number": "BOE012A",
                "color": "red",
                "size": "large",
            },
            "subscription": {"name": "Weekly", "interval": "WEEK", "interval_count": 1},
        }
    ],
    "shipping_info": [
        {
            "shipping_company": "DHL US",
            "shipping_method": "Home",
            "tracking_number": "63456415674545679874",
            "tracking_uri": "https://shipping.example/1",
            "return_shipping_company": "DHL US",
            "return_tracking_number": "93456415674545679888",
            "return_tracking_uri": "https://shipping.example/2",
        }
    ],
    "shipping_delay": 0,
}


def refused(client: takings.Client, request: Any) -> str:
    with pytest.raises(takings.InvalidInput) as caught:
        client.capture("order", request)
    assert caught.value.order_id == "order"
    assert caught.value.attempts == 0
    return str(caught.value)


def test_keywords_and_a_mapping_are_the_same_capture(
    sandbox: Sandbox, client: takings.Client
) -> None:
    bodies: list[str] = []
    for way in range(3):
        order_id = sandbox.order()
        if way == 0:
            capture = client.capture(order_id, **EVERY_FIELD)
        elif way == 1:
            capture = client.capture(order_id, EVERY_FIELD)
        else:
            capture = client.capture(order_id, None, **EVERY_FIELD)
        [request] = sandbox.requests(order_id)
        [entry] = sandbox.ledger(order_id)
        assert capture == takings.Capture(
            capture_id=entry["capture_id"],
            order_id=order_id,
            idempotency_key=entry["idempotency_key"],
            correlation_id=capture.correlation_id,
        )
        assert capture.correlation_id
        bodies.append(request["body"])
    assert json.loads(bodies[0]) == EVERY_FIELD
    assert bodies == bodies[:1] * 3


def test_both_at_once_are_refused(client: takings.Client, order_id: str) -> None:
    call: Any = client.capture
    with pytest.raises(takings.InvalidInput, match="as a mapping and as keywords") as caught:
        call(order_id, {"captured_amount": 1}, reference="parcel-1", idempotency_key="k")
    assert (caught.value.order_id, caught.value.idempotency_key) == (order_id, "k")


def test_nothing_at_all_is_refused(client: takings.Client, order_id: str) -> None:
    call: Any = client.capture
    with pytest.raises(takings.InvalidInput, match="captured_amount is missing"):
        call(order_id)


def test_the_user_agent_names_python(
    sandbox: Sandbox, client: takings.Client, order_id: str
) -> None:
    client.capture(order_id, captured_amount=1)
    [request] = sandbox.requests(order_id)
    headers = {name.lower(): value for name, value in request["headers"]}
    assert headers["user-agent"] == f"takings/{takings.__version__} (python)"


class Amount(enum.IntEnum):
    WHOLE = 6000


class Kind(str, enum.Enum):
    PHYSICAL = "physical"


class Whole(int):
    pass


class Record(Mapping[str, Any]):
    """A mapping that is no dict, like a database row."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


LINE = {"name": "Tomatoes", "quantity": 1, "unit_price": 6000, "total_amount": 6000}


@pytest.mark.parametrize(
    "request_",
    [
        OrderedDict[str, Any](captured_amount=6000),
        MappingProxyType({"captured_amount": 6000}),
        UserDict({"captured_amount": 6000}),
        Record(captured_amount=6000),
        {"captured_amount": Amount.WHOLE},
        {"captured_amount": Whole(6000)},
        {"captured_amount": 6000, "order_lines": [LINE]},
        {"captured_amount": 6000, "order_lines": (LINE,)},
        {"captured_amount": 6000, "order_lines": [Record(**LINE)]},
        {"captured_amount": 6000, "order_lines": [{**LINE, "type": Kind.PHYSICAL}]},
        {"captured_amount": 6000, "order_lines": [], "shipping_info": ()},
    ],
)
def test_values_that_are_what_they_say(
    sandbox: Sandbox, client: takings.Client, order_id: str, request_: Any
) -> None:
    client.capture(order_id, request_)
    body = json.loads(sandbox.requests(order_id)[0]["body"])
    assert body["captured_amount"] == 6000
    for line in body.get("order_lines", []):
        assert line == {**LINE, **({"type": "physical"} if "type" in line else {})}


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (True, "True"),
        (60.0, "60.0, a float; write 6000 for 60.00"),
        (100.7, "100.7, a float; write 6000 for 60.00"),
        (float("nan"), "NaN"),
        (float("-inf"), "-inf"),
        ("6000", '"6000"'),
        (None, "None"),
        (b"6000", "a bytes"),
        (Decimal("60.00"), "a Decimal"),
        (Fraction(1, 2), "a Fraction"),
        (6000j, "a complex"),
        (object(), "an object"),
        ([6000], "a list"),
        ({"amount": 6000}, "a dict"),
        (0, "0"),
        (-1, "-1"),
        (200_000_001, "200000001"),
        (2**63 - 1, str(2**63 - 1)),
        (-(2**63), str(-(2**63))),
        (2**63, str(2**63)),
        (2**64, str(2**64)),
        (2**127 - 1, str(2**127 - 1)),
        (10**60, "1e60"),
        (10**400, "inf"),
        (-(10**400), "-inf"),
    ],
)
def test_amounts_that_are_none(client: takings.Client, value: Any, got: str) -> None:
    message = refused(client, {"captured_amount": value})
    assert message.startswith("captured_amount is "), message
    assert f"{got}; " in message or f"{got} with a fraction" in message, message
    assert "a whole number from 1 to 200000000" in message


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("{}", "the request is a string; it must be a dict"),
        ([], "the request is a list; it must be a dict"),
        (6000, "the request is a number; it must be a dict"),
        ({1: 2}, "the request has a number as a key"),
        ({b"captured_amount": 1}, "the request has a bytes as a key"),
        ({("captured_amount",): 1}, "the request has a list as a key"),
        ({"\ud800": 1}, "the request has a str with half of a surrogate pair as a key"),
        ({"captured_amuont": 1}, "did you mean captured_amount?"),
        ({"captured_amount": 1, "reference": 7}, "reference is a number; it must be a string"),
        ({"captured_amount": 1, "reference": "\udfff"}, "reference is a str with half of a"),
        ({"captured_amount": 1, "reference": UUID(int=0)}, ": str(…) makes one of it"),
        ({"captured_amount": 1, "order_lines": LINE}, "order_lines is a dict; it must be a lis"),
        ({"captured_amount": 1, "order_lines": "no"}, "order_lines is a string; it must be a list"),
        (
            {"captured_amount": 1, "order_lines": None},
            "order_lines is None; leave an optional field out; ",
        ),
        ({"captured_amount": 1, "order_lines": deque([LINE])}, "order_lines is a deque; it must"),
        ({"captured_amount": 1, "order_lines": (_ for _ in [LINE])}, ": list(…) makes one of it"),
        ({"captured_amount": 1, "order_lines": [LINE, [LINE]]}, "order_lines[1] is a list; it mus"),
        (
            {"captured_amount": 1, "order_lines": [LINE, {**LINE, "quantity": Decimal(1)}]},
            "order_lines[1].quantity is a Decimal; it must be a whole number",
        ),
        ({"captured_amount": 1, "order_lines": [LINE] * 1001}, "a list of more than 1000"),
    ],
)
def test_shapes_that_are_none(client: takings.Client, request_: Any, message: str) -> None:
    assert message in refused(client, request_)


def test_a_type_cannot_break_the_message(client: takings.Client) -> None:
    strange = type("evil\n\x1b[2J" + "x" * 1000, (), {})()
    message = refused(client, {"captured_amount": strange})
    assert message.isprintable()
    assert len(message) < 300


def test_a_value_that_contains_itself(client: takings.Client) -> None:
    endless: list[Any] = [LINE] * 1000
    endless.append(endless)
    assert "a list of more than 1000" in refused(
        client, {"captured_amount": 1, "order_lines": endless}
    )
    loop: dict[str, Any] = {}
    loop["order_lines"] = [loop]
    assert "is not a field" in refused(client, loop)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert "captured_amount is a list" in refused(client, {"captured_amount": deep})


def test_what_a_mapping_raises_goes_on(client: takings.Client) -> None:
    class Row(Record):
        def __getitem__(self, name: str) -> Any:
            raise KeyboardInterrupt(name)

    with pytest.raises(KeyboardInterrupt, match="captured_amount"):
        client.capture("order", Row(captured_amount=1))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    request: Any = {"captured_amount": 1, "order_lines": [Row(name="x")]}
    with pytest.raises(KeyboardInterrupt, match="name"):
        client.capture("order", request)


def test_a_mapping_that_changes_what_is_read(client: takings.Client) -> None:
    request: dict[str, Any] = {}

    class Row(Record):
        def __getitem__(self, name: str) -> Any:
            request.clear()
            lines.clear()
            return super().__getitem__(name)

    lines: list[Any] = [Row(**LINE), LINE, LINE]
    request.update(order_lines=lines, captured_amount=6000.5)
    assert "captured_amount is 6000.5, a float" in refused(client, request)


def test_a_mapping_that_is_none(client: takings.Client) -> None:
    class Row(Record):
        def items(self) -> Any:
            return [1, 2, 3]

    with pytest.raises(takings.InvalidInput, match="raised a TypeError"):
        client.capture("order", Row())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (5, "an int"),
        (None, "None"),
        (UUID(int=0), "an UUID"),
        (b"x", "a bytes"),
        ("\ud800", "a str with half of a surrogate pair"),
    ],
)
def test_order_ids_and_keys_are_strings(client: takings.Client, value: Any, got: str) -> None:
    call: Any = client.capture
    with pytest.raises(takings.InvalidInput, match=f"^order_id is {got}; it must be a string"):
        call(value, captured_amount=1)
    with pytest.raises(takings.InvalidInput, match=f"^order_id is {got}; it must be a string"):
        takings.idempotency_key(value, "parcel-1")
    with pytest.raises(takings.InvalidInput, match=f"^name is {got}; it must be a string"):
        takings.idempotency_key("order", value)
    if value is not None:
        message = f"^idempotency_key is {got}; it must be a"
        with pytest.raises(takings.InvalidInput, match=message) as caught:
            client.capture("order", captured_amount=1, idempotency_key=value)
        assert (caught.value.order_id, caught.value.idempotency_key) == ("order", None)


@pytest.mark.parametrize("order_id", ["", "..", "a/b", "a\r\nb", "a\0b"])
def test_order_ids_that_are_none(client: takings.Client, order_id: str) -> None:
    with pytest.raises(takings.InvalidInput, match=r"^order_id (is|holds) "):
        client.capture(order_id, captured_amount=1)


def test_a_strange_order_id_stays_one_segment(sandbox: Sandbox, client: takings.Client) -> None:
    order_id = sandbox.order(order_id="ä b?c#d%2F.")
    capture = client.capture(order_id, captured_amount=1)
    assert capture.order_id == order_id
    assert sandbox.ledger(order_id)[0]["capture_id"] == capture.capture_id


def test_keys(sandbox: Sandbox, client: takings.Client, order_id: str) -> None:
    key = takings.idempotency_key(order_id, "parcel-1")
    assert UUID(key).version == 5
    assert key == takings.idempotency_key(order_id=order_id, name="parcel-1")
    assert key != takings.idempotency_key(order_id, "parcel-2")
    order = "f3392f8b-6116-4073-ab96-e330819e2c07"
    assert takings.idempotency_key(order, "parcel-1") == "e642b253-7331-5441-bb3d-c291abd550aa"

    first = client.capture(order_id, captured_amount=10, idempotency_key=key)
    again = client.capture(order_id, captured_amount=10, idempotency_key=key)
    assert first.idempotency_key == key
    assert again.capture_id == first.capture_id
    assert len(sandbox.ledger(order_id)) == 1
    with pytest.raises(takings.InvalidInput, match="was used for another capture"):
        client.capture(order_id, captured_amount=11, idempotency_key=key)

    fresh = {takings.new_idempotency_key() for _ in range(100)}
    assert len(fresh) == 100
    assert {UUID(key).version for key in fresh} == {4}


def test_warnings_come_back(sandbox: Sandbox, client: takings.Client, order_id: str) -> None:
    line: takings.OrderLine = {
        "name": "Tomatoes",
        "quantity": 2,
        "unit_price": 100,
        "total_amount": 201,
    }
    capture = client.capture(order_id, captured_amount=201, order_lines=[line])
    [warning] = capture.warnings
    assert warning.startswith("order_lines[0].total_amount is 201; 2 x 100 - 0 is 200")


def test_no_reference_is_kept(client: takings.Client, order_id: str) -> None:
    request: dict[str, Any] = {"captured_amount": 1, "order_lines": [dict(LINE)]}
    line = request["order_lines"][0]
    counts = [sys.getrefcount(value) for value in (request, line, order_id)]
    for _ in range(10):
        client.capture(order_id, request)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
        refused(client, {**request, "reference": object()})
    assert counts == [sys.getrefcount(value) for value in (request, line, order_id)]
