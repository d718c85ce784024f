"""Sending a call: over our own connections, or step by step over the program's HTTP client."""

from __future__ import annotations

import time

from ._takings import Operation
from ._telling import Span
from .steps import Send, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ._transport import Exchange
    from .outcomes import Capture, Reconciliation

    _OutcomeT = TypeVar("_OutcomeT", Capture, Reconciliation)

__all__ = ["Answer", "Lost", "Unsent", "run", "words"]

# Status, headers and body of an answer.
Answer = tuple[int, list[tuple[bytes | str, bytes | str]], bytes]


class Unsent(Exception):
    """An exchange raises it where it is certain that nothing of the request has left."""


class Lost(Exception):
    """An exchange raises it where the request may have left and no answer came. What else it
    raises comes from elsewhere, such as a signal's handler, and ends the call."""


def words(error: BaseException) -> str:
    """What a program's own exception says, whose code must not take the outcome with it."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def run(operation: Operation[_OutcomeT], exchange: Exchange | None) -> _OutcomeT:
    """Send a call and wait for its outcome."""
    with Span(operation) as span:
        outcome = operation.send() if exchange is None else _drive(operation, exchange)
        span.ended(outcome)
        return outcome


def _drive(operation: Operation[_OutcomeT], exchange: Exchange) -> _OutcomeT:
    step = operation.start()
    while True:
        if isinstance(step, Send):
            try:
                answer = exchange(step)
            except Unsent as why:
                step = operation.not_sent(words(why))
            except Lost as why:
                step = operation.maybe_sent(words(why))
            else:
                step = operation.answered(*answer)
        elif isinstance(step, Wait):
            time.sleep(step.seconds)
            step = operation.waited()
        else:
            return step
