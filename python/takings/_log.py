"""A program's log gets each outcome and each retry, no body and no secret.

The compiled half calls these functions for every transport. It holds the interpreter then, in a
thread of Python's.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger

    from .outcomes import Attempt, Reply, TakingsError

_logger: Logger | None = None


def logger() -> Logger | None:
    """The log of the program; None in a program that has not loaded `logging`."""
    global _logger
    if _logger is None and "logging" in sys.modules:
        # another thread may be about to load the module: the import waits for it
        import logging

        found = logging.getLogger("takings")
        # a program that has set up no log gets no print-out
        found.addHandler(logging.NullHandler())
        _logger = found
    return _logger


_WARNING, _INFO = 30, 20  # logging's


_FACTS = ("order_id", "idempotency_key", "correlation_id", "attempt", "outcome")


def _write(level: int, text: str, values: tuple[object, ...], *facts: object) -> None:
    log = logger()
    if log is not None and log.isEnabledFor(level):
        log.log(level, text, *values, extra=dict(zip(_FACTS, facts, strict=True)))


def retry(order_id: str | None, idempotency_key: str | None, number: int, attempt: Attempt) -> None:
    """Another attempt follows."""
    text = "order %s: attempt %d: %s; trying again in %.3f s (idempotency key %s)"
    word = attempt.came_back
    values = (order_id, number, word, attempt.wait, idempotency_key)
    _write(_WARNING, text, values, order_id, idempotency_key, attempt.correlation_id, number, word)


def ended(
    order_id: str | None,
    idempotency_key: str | None,
    outcome: Reply | TakingsError,
    word: str,
    said: str,
    unattended: bool,
) -> None:
    """A call has its outcome; `unattended` if no caller waits any more, who could log it."""
    level = _WARNING if unattended else _INFO
    text = "order %s: %s (idempotency key %s, attempts %d)"
    number = outcome.attempts
    values = (order_id, said, idempotency_key, number)
    _write(level, text, values, order_id, idempotency_key, outcome.correlation_id, number, word)


def refused(error: TakingsError, unattended: bool = False) -> None:
    """A call ended in an error without a report of its own: it was never made, or left alone."""
    said = f"{error.kind}: {error.message}"
    ended(error.order_id, error.idempotency_key, error, error.kind, said, unattended)
