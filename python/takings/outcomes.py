"""How a capture ends: in a `Capture`, or in one of the exceptions below `TakingsError`.

All of them are plain Python classes: they pickle, copy and compare, and a test of yours may
make one by hand.
"""

from __future__ import annotations

from datetime import datetime

# typing and dataclasses take longer to load than the rest of the package
TYPE_CHECKING = False
if not TYPE_CHECKING:
    from ._values import Literal, dataclass, field
else:
    from dataclasses import dataclass, field
    from typing import Literal

__all__ = [
    "Attempt",
    "Capture",
    "InternalError",
    "InvalidInput",
    "NotSent",
    "OutcomeUnknown",
    "Reconciliation",
    "Rejected",
    "TakingsError",
]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a call. It holds no credential."""

    started: datetime
    """When it was begun, in UTC."""
    took: float
    """How many seconds it took."""
    sent: str
    """Method and URL."""
    came_back: str
    """What came back, for people: `201`, `503 INTERNAL_ERROR`, `no answer within 10.0s`,
    `not_sent: no connection to …`."""
    http_status: int | None = None
    """The HTTP status, where there was an answer."""
    error_code: str | None = None
    """Klarna's `error_code`, where the answer had one."""
    correlation_id: str | None = None
    """Klarna's name for the request, where the answer had one."""
    wait: float | None = None
    """The pause after it in seconds, where another attempt followed."""


@dataclass(frozen=True, slots=True)
class Capture:
    """Klarna captured it: ship."""

    capture_id: str
    """Klarna's name for the capture."""
    order_id: str
    """The order it belongs to."""
    idempotency_key: str
    """The key the call used, given or made."""
    correlation_id: str | None = None
    """Klarna's name for the answered request, where it gave one."""
    attempts: int = 1
    """How many requests it took, 1 or more."""
    warnings: tuple[str, ...] = ()
    """What did not add up in the order lines (see `check_lines`): it was captured all the same. And
    that an earlier call with this key was answered with another capture."""
    attempt_log: tuple[Attempt, ...] = field(default=(), repr=False, compare=False)
    """Each request, in order; the looks of the setting `reconcile` are among them."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a look into an order's captures found."""

    found: Literal["once", "never", "several"]
    """How often. `never` says so only of the moment: a capture whose answer was lost may still be
    on its way, so capture again with the same key, not with a new one."""
    capture_ids: tuple[str, ...]
    """Every capture with the reference and the amount, as Klarna lists them."""
    order_id: str
    """The order that was looked into."""
    correlation_id: str | None = None
    """Klarna's name for the answered request, where it gave one."""
    attempts: int = 1
    """How many requests it took, 1 or more."""
    attempt_log: tuple[Attempt, ...] = field(default=(), repr=False, compare=False)
    """Each request, in order."""

    @property
    def capture_id(self) -> str | None:
        """The capture, if it was found once."""
        return self.capture_ids[0] if len(self.capture_ids) == 1 else None


class TakingsError(Exception):
    """It did not end in a capture. The class says what that means for the money.

    `str(error)` is one line for a log: what, where, how to mend it. It never holds a credential
    or customer data.
    """

    kind: str = "internal"
    """The class under the name that every language has for it, such as `"outcome_unknown"`."""

    message: str
    """One line: what happened, where, and what to do."""
    http_status: int | None
    """The HTTP status of the last answer, when there was one."""
    error_code: str | None
    """Klarna's `error_code` from the last answer, such as `CAPTURE_NOT_ALLOWED`. Made for
    programs; new ones may appear."""
    error_messages: tuple[str, ...]
    """Klarna's `error_messages` from the last answer: English text for the developer, whose
    wording changes."""
    correlation_id: str | None
    """Klarna's name for the failed request: quote it to Klarna's support."""
    order_id: str | None
    """The order the call was for, when it got as far as having one."""
    idempotency_key: str | None
    """The key the call used. Keep it: after `OutcomeUnknown`, calling again with it is what
    makes the second call safe."""
    attempts: int
    """How many requests were begun, 0 when nothing was sent."""
    attempt_log: tuple[Attempt, ...]
    """Each request, in order; the looks of the setting `reconcile` are among them."""
    retryable: bool = False
    """Whether the same call, with the same key, can end differently later."""

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        error_code: str | None = None,
        error_messages: tuple[str, ...] = (),
        correlation_id: str | None = None,
        order_id: str | None = None,
        idempotency_key: str | None = None,
        attempts: int = 0,
        attempt_log: tuple[Attempt, ...] = (),
        retryable: bool | None = None,
    ) -> None:
        # The message alone goes into args; the rest is in __dict__, which pickle and copy carry.
        super().__init__(message)
        self.message = message
        self.http_status = http_status
        self.error_code = error_code
        self.error_messages = error_messages
        self.correlation_id = correlation_id
        self.order_id = order_id
        self.idempotency_key = idempotency_key
        self.attempts = attempts
        self.attempt_log = attempt_log
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        facts = "".join(
            f", {name}={value!r}"
            for name, value in vars(self).items()
            if name not in ("message", "attempt_log") and value not in (None, (), 0)
        )
        return f"{type(self).__name__}({self.message!r}{facts})"


class InvalidInput(TakingsError, ValueError):
    """takings' own check refused the input. Nothing was sent. Mend the code or the data."""

    kind = "invalid_input"


class NotSent(TakingsError):
    """Nothing can have reached Klarna (name look-up, refused connection, TLS, proxy).

    Call again at any time, with the same key.
    """

    kind = "not_sent"
    retryable = True


class Rejected(TakingsError):
    """Klarna said no; nothing was captured.

    Mend the cause; the corrected capture takes a new idempotency key.
    """

    kind = "rejected"


class OutcomeUnknown(TakingsError):
    """It may have been captured: an answer was lost, or made no sense.

    Call again with the same idempotency key within 24 hours; never book it as failed.
    """

    kind = "outcome_unknown"
    retryable = True


class InternalError(TakingsError):
    """A bug in takings. Report it; if `attempts` is above 0, treat it as `OutcomeUnknown`."""

    kind = "internal"
