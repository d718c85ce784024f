"""What a program's log and its traces are told."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import takings
from conftest import Sandbox
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

UNAVAILABLE = {"fault": "status", "status": 503}
Records = pytest.LogCaptureFixture
In = Callable[[Callable[[], Any]], Any]


def here(work: Callable[[], Any]) -> Any:
    return work()


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Where a call waits in another way than in the main thread."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture(params=[here, in_a_thread], ids=lambda where: where.__name__)
def where(request: Any) -> In:
    where: In = request.param
    return where


def facts(record: logging.LogRecord) -> tuple[Any, ...]:
    names = ("order_id", "idempotency_key", "correlation_id", "attempt", "outcome")
    return (record.levelname, *(record.__dict__[name] for name in names))


def test_an_order_id_cannot_forge_a_line(client: takings.Client, caplog: Records) -> None:
    caplog.set_level(logging.INFO, "takings")
    order_id = "an\u2028order\u202e"
    with pytest.raises(takings.InvalidInput, match=r"U\+2028 at position 3"):
        client.capture(order_id, captured_amount=1)
    assert {record.__dict__["order_id"] for record in caplog.records} == {"an order"}
    assert not {"\u2028", "\u202e"} & set(caplog.text)


def test_each_retry_and_the_outcome(
    sandbox: Sandbox, client: takings.Client, where: In, caplog: Records
) -> None:
    caplog.set_level(logging.INFO, "takings")
    order_id = sandbox.order(UNAVAILABLE, {"fault": "lost_answer"})
    capture: takings.Capture = where(
        lambda: client.capture(order_id, captured_amount=1, description="Größe 42")
    )
    key = capture.idempotency_key
    first, lost, _ = capture.attempt_log
    assert [facts(record) for record in caplog.records] == [
        ("WARNING", order_id, key, first.correlation_id, 1, first.came_back),
        ("WARNING", order_id, key, None, 2, lost.came_back),
        ("INFO", order_id, key, capture.correlation_id, 3, "captured"),
    ]
    assert {record.name for record in caplog.records} == {"takings"}
    text = caplog.text
    assert capture.capture_id in text
    assert "Größe" not in text
    assert "c2FuZGJveDpz" not in text


@pytest.mark.parametrize("kind", ["rejected", "invalid_input", "never"])
def test_other_outcomes(
    client: takings.Client, order_id: str, kind: str, where: In, caplog: Records
) -> None:
    caplog.set_level(logging.INFO, "takings")
    given = takings.new_idempotency_key()

    def call() -> Any:
        if kind == "never":
            return client.reconcile(order_id, reference="r", captured_amount=1)
        amount = 10_001 if kind == "rejected" else 0
        with pytest.raises(takings.TakingsError) as caught:
            client.capture(order_id, captured_amount=amount, idempotency_key=given, first_use=True)
        return caught.value

    outcome = where(call)
    key = None if kind == "never" else given
    expected = ("INFO", order_id, key, outcome.correlation_id, outcome.attempts, kind)
    assert [facts(record) for record in caplog.records] == [expected]
    if isinstance(outcome, takings.TakingsError):
        assert outcome.message in caplog.text


def test_a_log_that_is_off_is_told_nothing(
    client: takings.Client, order_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("takings")
    monkeypatch.setattr(logger, "level", logging.ERROR)
    logger._cache.clear()  # type: ignore[attr-defined]  # pyright: ignore
    monkeypatch.setattr(logger, "_log", lambda *_: pytest.fail("it was"))  # pyright: ignore
    client.capture(order_id, captured_amount=1)
    logger._cache.clear()  # type: ignore[attr-defined]  # pyright: ignore


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_log_that_fails_takes_no_outcome(
    sandbox: Sandbox, client: takings.Client, where: In, caplog: Records
) -> None:
    caplog.set_level(logging.INFO, "takings")
    met: list[str] = []

    def failing(record: logging.LogRecord) -> bool:
        met.append(record.levelname)
        raise ZeroDivisionError

    logger = logging.getLogger("takings")
    logger.addFilter(failing)
    try:
        capture = where(lambda: client.capture(sandbox.order(UNAVAILABLE), captured_amount=1))
    finally:
        logger.removeFilter(failing)
    assert capture.attempts == 2
    assert met == ["WARNING", "INFO"]


def test_an_interrupted_log_keeps_the_key(
    client: takings.Client, order_id: str, caplog: Records
) -> None:
    caplog.set_level(logging.INFO, "takings")

    def interrupted(_: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    logger = logging.getLogger("takings")
    logger.addFilter(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            client.capture(order_id, captured_amount=1, idempotency_key="kept")
    finally:
        logger.removeFilter(interrupted)
    cause = raised.value.__cause__
    assert isinstance(cause, takings.OutcomeUnknown)
    assert cause.idempotency_key == "kept"


def test_ctrl_c_is_told(sandbox: Sandbox, client: takings.Client, caplog: Records) -> None:
    caplog.set_level(logging.INFO, "takings")
    order_id = sandbox.order({"fault": "delay", "seconds": 2, "when": "before_commit"})
    with sandbox.signals(order_id, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        client.capture(order_id, captured_amount=1, idempotency_key="k")
    assert [facts(record) for record in caplog.records] == [
        ("INFO", order_id, "k", None, 1, "outcome_unknown")
    ]


QUIET = """
import sys, takings
with takings.Client("sandbox", "sandbox", base_url=sys.argv[1], backoff=0.01) as client:
    client.capture(sys.argv[2], captured_amount=1)
print(sorted(name for name in sys.modules if name.partition(".")[0] in sys.argv[3:]))
"""


def test_nothing_is_printed_or_imported(sandbox: Sandbox) -> None:
    """By a program that has set up neither a log nor tracing."""
    strangers = ("opentelemetry", "httpx", "requests", "asyncio")
    done = subprocess.run(
        [sys.executable, "-I", "-c", QUIET, sandbox.url, sandbox.order(UNAVAILABLE), *strangers],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- OpenTelemetry ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def attributes(span: Any) -> dict[str, Any]:
    return {name.removeprefix("takings."): value for name, value in span.attributes.items()}


def test_a_span_for_each_call(
    sandbox: Sandbox, client: takings.Client, where: In, spans: InMemorySpanExporter
) -> None:
    order_id = sandbox.order(UNAVAILABLE)
    capture: takings.Capture = where(lambda: client.capture(order_id, captured_amount=1))
    [span] = spans.get_finished_spans()
    assert (span.name, span.kind) == ("takings.capture", trace.SpanKind.CLIENT)
    assert attributes(span) == {
        "order_id": order_id,
        "idempotency_key": capture.idempotency_key,
        "outcome": "captured",
        "attempts": 2,
        "correlation_id": capture.correlation_id,
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    assert [(event.attributes or {})["takings.came_back"] for event in span.events] == [
        "503 TEMPORARILY_UNAVAILABLE",
        "201",
    ]


def test_a_span_of_an_error(
    client: takings.Client, order_id: str, spans: InMemorySpanExporter
) -> None:
    with (
        trace.get_tracer("shop").start_as_current_span("ship") as outer,
        pytest.raises(takings.Rejected) as caught,
    ):
        client.capture(order_id, captured_amount=10_001)
    span, ship = spans.get_finished_spans()
    assert ship.name == "ship"
    assert span.parent is not None
    assert span.parent.span_id == outer.get_span_context().span_id
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == caught.value.message
    assert attributes(span)["outcome"] == attributes(span)["error.type"] == "rejected"


def test_a_call_that_waits_its_turn_belongs_to_its_task(
    sandbox: Sandbox, spans: InMemorySpanExporter
) -> None:
    """Another task's call gives the turn; it gives neither its span nor its variables."""
    task_of = contextvars.ContextVar("task_of", default="")
    told: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append((task_of.get(), record.__dict__["order_id"]))

    async def ship(client: takings.AsyncClient, order_id: str) -> None:
        task_of.set(order_id)
        with trace.get_tracer("shop").start_as_current_span(order_id):
            await client.capture(order_id, captured_amount=1)

    async def ship_all(orders: list[str]) -> None:
        account: dict[str, Any] = {
            "username": "sandbox",
            "password": "sandbox",
            "base_url": sandbox.url,
        }
        async with takings.AsyncClient(**account, max_concurrency=1) as client:
            await asyncio.gather(*(ship(client, order_id) for order_id in orders))

    log, handler = logging.getLogger("takings"), Handler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    orders = [sandbox.order() for _ in range(3)]
    try:
        asyncio.run(ship_all(orders))
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert told == [(order_id, order_id) for order_id in orders]
    ended = spans.get_finished_spans()
    ships = {span.name: span.context for span in ended if span.name in orders}
    captures = [span for span in ended if span.name == "takings.capture"]
    assert len(captures) == len(ships) == 3
    for span in captures:
        assert span.parent is not None
        above = ships[str(attributes(span)["order_id"])]
        assert above is not None
        assert span.parent.span_id == above.span_id


def test_tracing_that_fails_takes_no_outcome(
    client: takings.Client, order_id: str, monkeypatch: pytest.MonkeyPatch, caplog: Records
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(trace, "get_tracer", failing)
    assert client.capture(order_id, captured_amount=1).order_id == order_id
    monkeypatch.undo()
    monkeypatch.setattr("opentelemetry.sdk.trace.Span.set_attributes", failing)
    assert client.capture(order_id, captured_amount=1).order_id == order_id
    assert caplog.text.count("could not trace a call") == 2
