"""Captures Klarna orders from inside your own program.

Call it as often as you like: the money moves once, and you always know whether it moved.

    import takings

    with takings.Client("PK0000_0a1b2c", "secret", region="eu", environment="playground") as client:
        key = takings.idempotency_key(order_id, "parcel-1")
        try:
            capture = client.capture(order_id, captured_amount=6000, idempotency_key=key)
        except takings.OutcomeUnknown:
            ...  # it may have been captured: call again with the same key
        except takings.TakingsError as error:
            ...  # it was not; the class says why, and whether to try again
        else:
            ship(capture.capture_id)

Amounts are `int`s in minor units: 60.00 is 6000.
"""

# First: a compiled half that is loaded in a subinterpreter cannot be unloaded.
from . import _main_only  # isort: skip  # noqa: F401  # pyright: ignore[reportUnusedImport]
from . import _driving  # noqa: F401  # pyright: ignore[reportUnusedImport]
from ._takings import (
    Client,
    Operation,
    __version__,
    idempotency_key,
    minor,
    new_idempotency_key,
)
from .outcomes import (
    Attempt,
    Capture,
    InternalError,
    InvalidInput,
    NotSent,
    OutcomeUnknown,
    Reconciliation,
    Rejected,
    TakingsError,
)
from .steps import Send, Wait

# typing itself takes longer to load than the rest of the package
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._asynchronous import AsyncClient
    from .request import (
        CaptureRequest,
        OrderLine,
        ProductIdentifiers,
        ShippingInfo,
        Subscription,
    )

__all__ = [
    "AsyncClient",
    "Attempt",
    "Capture",
    "CaptureRequest",
    "Client",
    "InternalError",
    "InvalidInput",
    "NotSent",
    "Operation",
    "OrderLine",
    "OutcomeUnknown",
    "ProductIdentifiers",
    "Reconciliation",
    "Rejected",
    "Send",
    "ShippingInfo",
    "Subscription",
    "TakingsError",
    "Wait",
    "__version__",
    "idempotency_key",
    "minor",
    "new_idempotency_key",
]


# What is loaded by those who name it: asyncio comes along with the one, typing with the others.
_LATER = {
    "AsyncClient": "_asynchronous",
    "CaptureRequest": "request",
    "OrderLine": "request",
    "ProductIdentifiers": "request",
    "ShippingInfo": "request",
    "Subscription": "request",
}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(__import__(f"{__name__}.{module}", fromlist=[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
