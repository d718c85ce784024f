"""The compiled half of `takings`, and its manual."""

from collections.abc import Iterable
from decimal import Decimal
from os import PathLike
from types import GenericAlias
from typing import Any, Generic, NoReturn, TypeVar, final

from typing_extensions import Self, Unpack, disjoint_base

from ._exchange import Transport
from ._settings import Settings
from .outcomes import Attempt, InvalidInput, OutcomeUnknown, Reply
from .steps import Send, Wait

__all__ = [
    "Call",
    "Client",
    "__version__",
    "idempotency_key",
    "invalid_argument",
    "minor",
    "new_idempotency_key",
]

_ReplyT = TypeVar("_ReplyT", bound=Reply)

__version__: str

@disjoint_base
class Client:
    """The client without the methods that are named after operations: `takings.Client` has both."""

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        transport: Transport | None = None,
        **settings: str | PathLike[str] | float | bool | None,
    ) -> None:
        """Check the settings and make a client."""

    @classmethod
    def from_env(cls, *, transport: Transport | None = None, **settings: Unpack[Settings]) -> Self:
        """Make a client from the environment, with these settings in place of it.

        Reads `KLARNA_USERNAME` and `KLARNA_PASSWORD` or `KLARNA_API_KEY`, and `KLARNA_REGION` with
        `KLARNA_ENVIRONMENT` or `KLARNA_BASE_URL`. Every other setting has its variable too, times
        in seconds: `KLARNA_TIMEOUT`, `KLARNA_RECONCILE` (`true` or `false`). An empty variable
        counts as absent. A subclass's `__init__` is not called.

        Raises `InvalidInput`, naming the variable or the setting.
        """

    @property
    def base_url(self) -> str:
        """Where requests go, without credentials."""

    def _call(
        self, operation: str, order_id: str, request: Any, key: Any, fields: Any, send: bool, /
    ) -> Any: ...
    def close(self) -> None:
        """Close the connections. Calls that are under way end first in their own threads; later
        ones raise `InvalidInput`. Leaving a `with` block does the same."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *raised: object) -> None: ...
    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a client holds credentials and connections."""

@final
class Call(Generic[_ReplyT]):
    """A call that is ready to be sent (`Client.prepare`).

    `send` sends it over the client's own connections. A program with an HTTP client that takings
    does not know sends it step by step instead: `start` and every answer to a step gives the next
    step, until it is the outcome:

        step = call.start()
        while not isinstance(step, takings.Capture):
            if isinstance(step, takings.Wait):
                time.sleep(step.seconds)
                step = call.waited()
            else:
                step = call.answered(*my_http_client(step))  # or not_sent, or maybe_sent

    That program sends each `Send` once and as it is, within its time-out, follows no redirect,
    and closes the connection after an error, a time-out or bytes beyond the answer.

    Dropping it gives the call up; a request that was sent may still be carried out. Any thread may
    use it, one at a time.
    """

    @property
    def operation(self) -> str:
        """The name of the operation, such as `capture`."""

    @property
    def order_id(self) -> str:
        """The order it is for."""

    @property
    def idempotency_key(self) -> str | None:
        """The key it is sent with; none for a call that changes nothing."""

    @property
    def attempt_log(self) -> tuple[Attempt, ...]:
        """The requests so far, while it is stepped; the outcome has them all."""

    @property
    def outcome(self) -> str | None:
        """The end as a log names it: `captured`, how often a query found a capture, or the kind of
        an error. None before the end."""

    def send(self) -> _ReplyT:
        """Send it and wait for the outcome, as `Client.capture` does."""

    def start(self) -> Send | Wait | _ReplyT:
        """The first step. Raises the `TakingsError` that the call ends in, as the others do."""

    def answered(
        self, status: int, headers: Iterable[tuple[str | bytes, str | bytes]], body: bytes, /
    ) -> Send | Wait | _ReplyT:
        """An answer came, whatever its status. A header that came twice is given twice."""

    def not_sent(self, why: str, /) -> Send | Wait | _ReplyT:
        """Nothing of the request can have left: no connection was made."""

    def maybe_sent(self, why: str, /) -> Send | Wait | _ReplyT:
        """No answer came, or that is not certain; when in doubt it is this."""

    def waited(self) -> Send | Wait | _ReplyT:
        """The pause is over."""

    def abandon(self) -> OutcomeUnknown:
        """The error to raise where the wait ends before the call does (a cancelled task). The call
        may go on elsewhere; its outcome, which no caller hears, is logged as a warning."""

    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

def minor(amount: str | int | Decimal, currency: str) -> int:
    """`minor("60.00", "EUR")` is `6000`: an amount in the minor units that Klarna counts in,
    exactly or not at all.

    `currency` is a code of ISO 4217, whose number of decimals counts: 2 for `EUR`, 0 for `JPY`. A
    `float` is refused, and so is what would have to be rounded.

    Raises `InvalidInput`, naming the argument.
    """

def invalid_argument(field: str, got: str, allowed: str) -> InvalidInput:
    """An error of this package's own, in the core's words."""

def idempotency_key(order_id: str, name: str, operation: str = "capture") -> str:
    """Derive the idempotency key of the call named `name` of an order.

    The same texts give the same key after a crash, on any host, in every language: a UUID v5
    of the namespace `8f0b7c0e-51d4-4f0a-9c53-2b6fd0a174e6` and, for a capture,
    `captures/{order_id}/{name}`. Other operations have words of their own there.

    `name` says which capture of the order it is, such as `"parcel-1"`: 1 to 255 characters. Two
    parcels need two names: Klarna answers a known key with the first result, whatever the body
    says, so one key for two parcels would lose the second.

    Raises `InvalidInput` when the order id or the name cannot be one, or the operation takes none.
    """

def new_idempotency_key() -> str:
    """Make a fresh random key (UUID v4), to be stored before the call."""

# For the package itself, and not exported.

def diagnosis() -> str:
    """What `python -m takings` says about takings and what it finds around it. No credential."""

def schema() -> str:
    """The core's description of its operations, requests, replies and settings, as JSON."""

@final
class Sandbox:
    """The stand-in Klarna, running in this process until `close`."""

    url: str

    def inherited(self) -> list[int]:
        """The file descriptors of its sockets, in a forked child; none elsewhere."""

    def close(self) -> None: ...

def sandbox(flags: list[str]) -> int:
    """Be the program `takings-sandbox` and give its exit code. It handles no signals."""
