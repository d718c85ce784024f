"""A program's traces get each call, with its attempts and its outcome."""

from __future__ import annotations

import sys

from ._log import logger
from ._takings import Call, __version__
from .outcomes import TakingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self

    from .outcomes import Reply


class Span:
    """The span of one call, where the program traces with OpenTelemetry.

    A program that traces has the API loaded, so takings does not import it. A failure of the
    program's tracing must not replace an outcome.
    """

    def __init__(self, call: Call[Any], is_current: bool = True) -> None:
        """`is_current` where spans of the HTTP client become children of this one. Such a span
        ends in the context that it began in."""
        self._call = call
        self._is_current = is_current
        self._span: Any = None
        self._leave: Any = None

    def __enter__(self) -> Self:
        trace = sys.modules.get("opentelemetry.trace")
        if trace is not None:
            with _passed_over():
                tracer = trace.get_tracer("takings", __version__)
                start = tracer.start_as_current_span if self._is_current else tracer.start_span
                made = start(
                    f"takings.{self._call.operation}",
                    kind=trace.SpanKind.CLIENT,
                    attributes=_of(self._call, "order_id", "idempotency_key"),
                    record_exception=False,
                    set_status_on_exception=False,
                )
                if self._is_current:
                    self._span, self._leave = (
                        made.__enter__(),
                        lambda: made.__exit__(None, None, None),
                    )
                else:
                    self._span, self._leave = made, made.end
        return self

    def ended(self, outcome: Reply | TakingsError) -> None:
        """Writes the outcome to the span."""
        if self._span is None:
            return
        with _passed_over():
            for attempt in outcome.attempt_log:
                self._span.add_event(
                    "attempt",
                    _of(attempt, "sent", "came_back", "wait"),
                    int(attempt.started.timestamp() * 1e9),
                )
            facts = {**_of(self._call, "outcome"), **_of(outcome, "attempts", "correlation_id")}
            self._span.set_attributes(facts)
            if isinstance(outcome, TakingsError):
                self._fail(outcome.kind, outcome.message)

    def _fail(self, kind: str, message: str) -> None:
        status = sys.modules["opentelemetry.trace"].StatusCode.ERROR
        self._span.set_attribute("error.type", kind)
        self._span.set_status(status, message)

    def __exit__(self, _kind: object, raised: BaseException | None, _traceback: object) -> None:
        if self._span is None:
            return
        if isinstance(raised, TakingsError):
            self.ended(raised)
        elif raised is not None:
            with _passed_over():
                self._span.set_attributes({"takings.outcome": "outcome_unknown"})
                self._fail(type(raised).__name__, "the wait for the answer was interrupted")
        with _passed_over():
            self._leave()


def _of(thing: object, *names: str) -> dict[str, Any]:
    """The attributes of a span that have a value."""
    values = ((name, getattr(thing, name)) for name in names)
    return {f"takings.{name}": value for name, value in values if value is not None}


class _passed_over:
    """Logs an exception of the program's tracing, and lets it go no further."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, failed: BaseException | None, _traceback: object) -> bool:
        log = logger()
        if isinstance(failed, Exception) and log is not None:
            from contextlib import suppress

            with suppress(Exception):
                log.error("takings could not trace a call", exc_info=failed)
        return isinstance(failed, Exception)
