"""The compiled half of `takings`, and its manual."""

from collections.abc import Iterable
from decimal import Decimal
from os import PathLike
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, NoReturn, TypeVar, final, overload

from typing_extensions import Self, Unpack, disjoint_base

from ._transport import Transport
from .outcomes import Attempt, Capture, InvalidInput, OutcomeUnknown, Reconciliation
from .request import CaptureRequest
from .steps import Send, Wait

__all__ = [
    "Client",
    "Operation",
    "__version__",
    "idempotency_key",
    "invalid_argument",
    "minor",
    "new_idempotency_key",
]

_OutcomeT = TypeVar("_OutcomeT", Capture, Reconciliation)

__version__: str

@disjoint_base
class Client:
    """Captures orders of one merchant account.

    Make one and keep it: it reuses its connections. Threads may share it, and so may a process
    forked from the one that made it. It cannot be pickled: it holds credentials.

    A call holds up its thread, for at most `timeout` in all, with the interpreter free for other
    threads. For coroutines there is `AsyncClient`.
    """

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        api_key: str | None = None,
        auth: Literal["basic", "raw"] | None = None,
        region: Literal["eu", "na", "oc", "kustom"] | None = None,
        environment: Literal["live", "playground"] | None = None,
        base_url: str | None = None,
        timeout: float | None = 25.0,
        connect_timeout: float | None = 5.0,
        attempt_timeout: float | None = 10.0,
        max_attempts: int | None = 3,
        backoff: float | None = 0.5,
        max_backoff: float | None = 8.0,
        proxy: str | None = None,
        ca_file: str | PathLike[str] | None = None,
        user_agent_suffix: str | None = None,
        check_lines: Literal["off", "warn", "refuse"] | None = "warn",
        accept_unknown_values: bool | None = False,
        reconcile: bool | None = False,
        transport: Transport | None = None,
    ) -> None:
        """Check the settings and make a client. Nothing is connected before the first call.

        `None` is the same as leaving a setting out. Times are seconds, up to a day.

        Raises `InvalidInput`, naming the setting.

        - `username` and `password`, or `api_key`: who captures. An API key goes out with its
          `username`, if any (`auth="basic"`), or alone, as Klarna's pages write it (`auth="raw"`).
        - `environment`: `live` (captures move money) or `playground`. There is no default.
        - `region`: where the account lives, `eu` by default.
        - `base_url`: another host in place of region and environment, with an optional path
          prefix. Plain `http` only for a loopback address.
        - `timeout`: the whole call with all attempts and pauses.
        - `connect_timeout`: name look-up, every address, TLS; at most half of `attempt_timeout`.
        - `attempt_timeout`: one attempt, from the first name look-up to the last byte.
        - `max_attempts`: requests one call may make, 1 to 20.
        - `backoff`, `max_backoff`: the first pause is drawn from 0 to `backoff`, each later one
          from twice as much, none from more than `max_backoff`.
        - `proxy`: for HTTPS, such as `http://user:password@proxy.example:3128`. Without it,
          `HTTPS_PROXY` and `NO_PROXY` are read as curl reads them.
        - `ca_file`: a PEM file of certificate authorities to trust in place of the system's.
        - `user_agent_suffix`: what your program calls itself, such as `acme-shop/2.1`.
        - `check_lines`: what to do about order lines that do not add up: `warn` captures and
          says so in `Capture.warnings`, `refuse` raises `InvalidInput`, `off` does not look.
        - `accept_unknown_values`: let values of a line's `type` and of `shipping_method` pass
          that takings does not know.
        - `reconcile`: when attempts had no clear answer, look at the order's captures before giving
          up. Sound only when every capture has a `reference` of its own.
        - `transport`: an `httpx.Client` or a `requests.Session` that sends in place of takings' own
          connections, with its proxies, certificates, hooks and mocks. It is not closed with the
          client. See the README for what takings takes from it.
        """

    @classmethod
    def from_env(cls, *, transport: Transport | None = None) -> Self:
        """Make a client from the environment.

        Reads `KLARNA_USERNAME` and `KLARNA_PASSWORD` or `KLARNA_API_KEY`, and `KLARNA_REGION` with
        `KLARNA_ENVIRONMENT` or `KLARNA_BASE_URL`. An empty variable counts as absent. A
        subclass's `__init__` is not called.

        Raises `InvalidInput`, naming the variable.
        """

    @property
    def base_url(self) -> str:
        """Where requests go, without credentials."""

    @overload
    def capture(
        self, order_id: str, request: CaptureRequest, /, *, idempotency_key: str | None = None
    ) -> Capture: ...
    @overload
    def capture(
        self,
        order_id: str,
        request: None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[CaptureRequest],
    ) -> Capture:
        """Capture the order, in full or in part, and wait for the outcome.

        The request is Klarna's, as keywords or as one mapping; see `CaptureRequest`.

        Without a key a fresh one is made and kept over the retries of this call; it comes back in
        the `Capture` and in every error. With a key of your own (`takings.idempotency_key`
        derives one) the call can be made again after a crash.

        Raises a `TakingsError`: its class says what that means for the money. On Ctrl-C, in the
        main thread, it raises KeyboardInterrupt with an `OutcomeUnknown` as its `__cause__`, which
        carries the key; the capture goes on in the background while the process lives (with a
        transport only the attempt that is on its way does).
        """

    def reconcile(
        self, order_id: str, /, *, reference: str, captured_amount: int
    ) -> Reconciliation:
        """Look into the order's captures for the one with this reference and amount.

        Sound only when each capture of an order has a `reference` of its own.

        Raises a `TakingsError` when the captures could not be read; what became of the capture
        stays unknown.
        """

    @overload
    def prepare(
        self, order_id: str, request: CaptureRequest, /, *, idempotency_key: str | None = None
    ) -> Operation[Capture]: ...
    @overload
    def prepare(
        self,
        order_id: str,
        request: None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[CaptureRequest],
    ) -> Operation[Capture]:
        """The first half of `capture`: the request is checked and its key is known, and nothing is
        sent. The `Operation` is the second half, for whoever sends by other means."""

    def prepare_reconcile(
        self, order_id: str, /, *, reference: str, captured_amount: int
    ) -> Operation[Reconciliation]:
        """The first half of `reconcile`."""

    def close(self) -> None:
        """Close the connections. Calls that are under way end first in their own threads; later
        ones raise `InvalidInput`. Leaving a `with` block does the same."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a client holds credentials and connections."""

@final
class Operation(Generic[_OutcomeT]):
    """A call that is ready to be sent (`Client.prepare`).

    `send` sends it over the client's own connections. A program with an HTTP client that takings
    does not know drives it instead: `start` and every answer to a step gives the next step, until
    it is the outcome:

        step = operation.start()
        while not isinstance(step, takings.Capture):
            if isinstance(step, takings.Wait):
                time.sleep(step.seconds)
                step = operation.waited()
            else:
                step = operation.answered(*my_http_client(step))  # or not_sent, or maybe_sent

    Whoever drives it sends each `Send` once and as it is, within its time-out, follows no redirect,
    and closes the connection after an error, a time-out or bytes beyond the answer.

    Dropping it gives the call up; what was sent may still be captured. Any thread may use it, one
    at a time.
    """

    @property
    def order_id(self) -> str:
        """The order it is for."""

    @property
    def idempotency_key(self) -> str | None:
        """The key it is sent with; none for a look."""

    @property
    def attempt_log(self) -> tuple[Attempt, ...]:
        """The requests so far, while it is driven; the outcome has them all."""

    def send(self) -> _OutcomeT:
        """Send it and wait for the outcome, as `Client.capture` does."""

    def start(self) -> Send | Wait | _OutcomeT:
        """The first step. Raises the `TakingsError` that the call ends in, as the others do."""

    def answered(
        self,
        status: int,
        headers: Iterable[tuple[str | bytes, str | bytes]],
        body: bytes,
        /,
    ) -> Send | Wait | _OutcomeT:
        """An answer came, whatever its status. A header that came twice is given twice."""

    def not_sent(self, why: str, /) -> Send | Wait | _OutcomeT:
        """Nothing of the request can have left: no connection was made."""

    def maybe_sent(self, why: str, /) -> Send | Wait | _OutcomeT:
        """No answer came, or it cannot be told; when in doubt it is this."""

    def waited(self) -> Send | Wait | _OutcomeT:
        """The pause is over."""

    def abandon(self) -> OutcomeUnknown:
        """The error to raise where the wait ends before the call does (a cancelled task). The call
        may go on elsewhere; nobody will be told its outcome, so it is logged as a warning."""

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

def idempotency_key(order_id: str, name: str) -> str:
    """Derive the idempotency key of the capture called `name` of an order.

    The same two texts give the same key after a crash, on any host, in every language: a UUID v5
    of the namespace `8f0b7c0e-51d4-4f0a-9c53-2b6fd0a174e6` and `captures/{order_id}/{name}`.

    `name` says which capture of the order it is, such as `"parcel-1"`: 1 to 255 characters. Two
    parcels need two names: Klarna answers a known key with the first result, whatever the body
    says, so one key for two parcels would lose the second.

    Raises `InvalidInput` when the order id or the name cannot be one.
    """

def new_idempotency_key() -> str:
    """Make a fresh random key (UUID v4), to be stored before the call."""

# For the package itself, and not exported.

def diagnosis() -> str:
    """What `python -m takings` says about takings and what it finds around it. No credential."""

def sandbox(flags: list[str]) -> int:
    """Be the program `takings-sandbox` and give its exit code. It handles no signals."""
