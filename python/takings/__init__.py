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

from typing import TYPE_CHECKING, Any

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
from .request import CaptureRequest, OrderLine, ProductIdentifiers, ShippingInfo, Subscription
from .steps import Send, Wait

if TYPE_CHECKING:
    from ._asynchronous import AsyncClient

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


def __getattr__(name: str) -> Any:
    """`AsyncClient` brings asyncio along, and so is loaded by those who name it."""
    if name == "AsyncClient":
        from ._asynchronous import AsyncClient

        globals()[name] = AsyncClient
        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
