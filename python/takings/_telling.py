"""What a program's log and traces are told: each outcome and each retry, no body and no secret.

The compiled half calls `retry` and `ended`, whatever sends; it holds the interpreter then, and the
thread is one of Python's.
"""

from __future__ import annotations

import sys

from ._takings import Operation, __version__
from .outcomes import Attempt, Capture, Reconciliation, TakingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

_logger: Logger | None = None


def _log() -> Logger | None:
    """The log of the program. One that has not loaded `logging` has none, and need not do so."""
    global _logger
    if _logger is None and "logging" in sys.modules:
        # another thread may be just about to load it
        import logging

        logger = logging.getLogger("takings")
        # Where a program has set up no log, nothing is printed.
        logger.addHandler(logging.NullHandler())
        _logger = logger
    return _logger


_WARNING, _INFO = 30, 20  # logging's


def retry(order_id: str | None, idempotency_key: str | None, number: int, attempt: Attempt) -> None:
    """Another attempt follows."""
    logger = _log()
    if logger is not None and logger.isEnabledFor(_WARNING):
        logger.warning(
            "order %s: attempt %d: %s; trying again in %.3f s (idempotency key %s)",
            order_id,
            number,
            attempt.came_back,
            attempt.wait,
            idempotency_key,
            extra={
                "order_id": order_id,
                "idempotency_key": idempotency_key,
                "correlation_id": attempt.correlation_id,
                "attempt": number,
                "outcome": attempt.came_back,
            },
        )


def ended(
    order_id: str | None,
    idempotency_key: str | None,
    outcome: Capture | Reconciliation | TakingsError,
    alone: bool,
) -> None:
    """A call has its outcome; `alone` if nobody waits for it any more, who could tell of it."""
    logger = _log()
    level = _WARNING if alone else _INFO
    if logger is not None and logger.isEnabledFor(level):
        logger.log(
            level,
            "order %s: %s (idempotency key %s, attempts %d)",
            order_id,
            _said(outcome),
            idempotency_key,
            outcome.attempts,
            extra={
                "order_id": order_id,
                "idempotency_key": idempotency_key,
                "correlation_id": outcome.correlation_id,
                "attempt": outcome.attempts,
                "outcome": _name(outcome),
            },
        )


def _name(outcome: Capture | Reconciliation | TakingsError) -> str:
    if isinstance(outcome, Capture):
        return "captured"
    return outcome.found if isinstance(outcome, Reconciliation) else outcome.kind


def _said(outcome: Capture | Reconciliation | TakingsError) -> str:
    if isinstance(outcome, Capture):
        return f"captured as {outcome.capture_id}"
    if isinstance(outcome, Reconciliation):
        return f"found {outcome.found}"
    return f"{outcome.kind}: {outcome.message}"


class Span:
    """The span of one call, where the program traces with OpenTelemetry; else nothing.

    A program that traces has the API loaded: takings imports nothing. What fails in a program's
    tracing must not take an outcome with it.
    """

    def __init__(self, operation: Operation[Any]) -> None:
        self._operation = operation
        self._span: Any = None
        self._current: Any = None

    def __enter__(self) -> Self:
        trace = sys.modules.get("opentelemetry.trace")
        if trace is not None:
            call = "reconcile" if self._operation.idempotency_key is None else "capture"
            with _passed_over():
                self._span = trace.get_tracer("takings", __version__).start_span(
                    f"takings.{call}",
                    kind=trace.SpanKind.CLIENT,
                    attributes=_given(
                        order_id=self._operation.order_id,
                        idempotency_key=self._operation.idempotency_key,
                    ),
                )
                # what the HTTP client traces becomes a child of it
                self._current = trace.use_span(
                    self._span, record_exception=False, set_status_on_exception=False
                )
                self._current.__enter__()
        return self

    def ended(self, outcome: Capture | Reconciliation | TakingsError) -> None:
        """The outcome is there."""
        if self._span is None:
            return
        with _passed_over():
            for attempt in outcome.attempt_log:
                self._span.add_event(
                    "attempt",
                    _given(sent=attempt.sent, came_back=attempt.came_back, wait=attempt.wait),
                    int(attempt.started.timestamp() * 1e9),
                )
            self._span.set_attributes(
                _given(
                    outcome=_name(outcome),
                    attempts=outcome.attempts,
                    correlation_id=outcome.correlation_id,
                )
            )
            if isinstance(outcome, TakingsError):
                self._fail(outcome.kind, outcome.message)

    def _fail(self, kind: str, message: str) -> None:
        status = sys.modules["opentelemetry.trace"].StatusCode.ERROR
        self._span.set_attribute("error.type", kind)
        self._span.set_status(status, message)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(raised, TakingsError):
            self.ended(raised)
        elif raised is not None and self._span is not None:
            with _passed_over():
                self._span.set_attributes(_given(outcome="outcome_unknown"))
                self._fail(type(raised).__name__, "the wait for the answer was interrupted")
        if self._current is not None:
            with _passed_over():
                self._current.__exit__(None, None, None)
        if self._span is not None:
            with _passed_over():
                self._span.end()


def _given(**attributes: Any) -> dict[str, Any]:
    """Attributes of a span, those that there are."""
    return {f"takings.{name}": value for name, value in attributes.items() if value is not None}


class _passed_over:
    """What a program's tracing raises is told to its log, and goes no further."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failed: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        logger = _log()
        if isinstance(failed, Exception) and logger is not None:
            from contextlib import suppress

            with suppress(Exception):
                logger.error("takings could not trace a call", exc_info=failed)
        return isinstance(failed, Exception)
