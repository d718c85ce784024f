"""Calls that are driven step by step."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
import takings

ID = "4ba29b50-be7b-44f5-a492-113e6a865e22"


@pytest.fixture
def call(client: takings.Client) -> takings.Call[takings.Capture]:
    return client.prepare("an order", captured_amount=10, idempotency_key="the-key")


def test_step_by_step(call: takings.Call[takings.Capture]) -> None:
    assert (call.order_id, call.idempotency_key) == ("an order", "the-key")
    send = call.start()
    assert isinstance(send, takings.Send)
    assert send.method == "POST"
    assert send.url.endswith("/ordermanagement/v1/orders/an%20order/captures")
    headers = dict(send.headers)
    assert headers["klarna-idempotency-key"] == "the-key"
    assert headers["authorization"].startswith("Basic ")
    assert send.body == b'{"captured_amount":10}'
    assert 9 < send.timeout <= 10
    assert send.connect_timeout == 5
    assert "Basic" not in repr(send)
    assert "captured_amount" not in repr(send)

    wait = call.maybe_sent("the answer was lost")
    assert isinstance(wait, takings.Wait)
    assert 0 <= wait.seconds < 1
    assert [attempt.came_back for attempt in call.attempt_log] == ["the answer was lost"]
    again = call.waited()
    assert isinstance(again, takings.Send)
    assert (again.headers, again.body) == (send.headers, send.body)
    capture = call.answered(201, [("capture-ID", ID), (b"X", b"\xff")], b"")
    assert isinstance(capture, takings.Capture)
    assert (capture.capture_id, capture.attempts) == (ID, 2)
    with pytest.raises(takings.InvalidInput, match="the call is over"):
        call.start()


def test_not_sent(client: takings.Client) -> None:
    call = client.prepare("an order", {"captured_amount": 10})
    call.start()
    for _ in range(2):
        assert isinstance(call.not_sent("no connection"), takings.Wait)
        assert isinstance(call.waited(), takings.Send)
    with pytest.raises(takings.NotSent, match="no connection") as caught:
        call.not_sent("no connection")
    assert caught.value.attempts == 3


def test_a_look(client: takings.Client) -> None:
    call = client.prepare_reconcile("an order", reference="r", captured_amount=1)
    send = call.start()
    assert isinstance(send, takings.Send)
    assert (send.method, send.body, call.idempotency_key) == ("GET", b"", None)
    found = call.answered(200, {"content-type": "application/json"}.items(), b"[]")
    assert isinstance(found, takings.Reconciliation)
    assert found.found == "never"


def test_it_is_sent_as_well(client: takings.Client, order_id: str) -> None:
    call = client.prepare(order_id, captured_amount=10)
    capture = call.send()
    assert capture.idempotency_key == call.idempotency_key
    with pytest.raises(takings.InvalidInput, match="the call is over"):
        call.send()


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("waited", []),
        ("answered", [201, [("Capture-Id", ID)], b""]),
        ("not_sent", ["no"]),
    ],
)
def test_an_event_that_does_not_fit(
    call: takings.Call[takings.Capture], event: str, arguments: list[Any]
) -> None:
    with pytest.raises(takings.InternalError):
        getattr(call, event)(*arguments)
    with pytest.raises(takings.InvalidInput, match="the call is over"):
        call.start()


class Failing:
    """A header, a status or a list of headers whose own code raises."""

    def __init__(self, raised: BaseException) -> None:
        self._raised = raised

    def __iter__(self) -> Any:
        raise self._raised

    __index__ = __iter__


HEADERS = "headers is a list; it must be pairs of a name and a value, str or bytes"
STATUS = "it must be a status such as 201"
WRONG: list[tuple[str, list[Any], str]] = [
    ("not_sent", [5], "why is an int; it must be a string"),
    ("maybe_sent", [None], "why is a NoneType; it must be a string"),
    ("answered", [201, [("a", 5)], b""], HEADERS),
    ("answered", [201, [5], b""], HEADERS),
    ("answered", [201, [("a",)], b""], HEADERS),
    ("answered", [201, [("a", "b", "c")], b""], HEADERS),
    ("answered", [201, None, b""], "headers is a NoneType"),
    ("answered", [201, Failing(ZeroDivisionError()), b""], "headers is a Failing"),
    ("answered", ["201", [], b""], STATUS),
    ("answered", [70_000, [], b""], STATUS),
    ("answered", [-1, [], b""], STATUS),
    ("answered", [10**30, [], b""], STATUS),
    ("answered", [Failing(ValueError()), [], b""], STATUS),
    ("answered", [201, [], "text"], "body is a str; it must be bytes"),
    ("answered", [201, [], [1]], "body is a list; it must be bytes"),
]


@pytest.mark.parametrize(("event", "arguments", "words"), WRONG)
def test_a_wrong_argument_loses_nothing(
    call: takings.Call[takings.Capture], event: str, arguments: list[Any], words: str
) -> None:
    call.start()
    # not of takings' errors: those say what became of the money
    with pytest.raises(TypeError, match=re.escape(words)) as caught:
        getattr(call, event)(*arguments)
    assert isinstance(caught.value.__cause__, Exception)
    assert isinstance(call.abandon(), takings.OutcomeUnknown)
    assert call.answered(201, [("Capture-Id", ID)], b"")


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_an_interrupt_during_an_answer_passes(
    call: takings.Call[takings.Capture], raised: type[BaseException]
) -> None:
    call.start()
    answered: Any = call.answered
    wrong: list[tuple[Any, Any]] = [(Failing(raised()), []), (201, Failing(raised()))]
    for status, headers in wrong:
        with pytest.raises(raised):
            answered(status, headers, b"")
    assert call.answered(201, [("Capture-Id", ID)], b"")


def test_text_in_any_shape(call: takings.Call[takings.Capture]) -> None:
    """Reasons and headers of a host come as its HTTP client has them, after a request has left."""
    call.start()
    assert isinstance(call.maybe_sent("a file \udce9"), takings.Wait)
    call.waited()
    assert isinstance(call.not_sent("\ud800"), takings.Wait)
    call.waited()
    assert call.answered(201, [("Capture-Id", ID), ("X-Note", "caf\udce9")], b"")


def test_an_abandoned_one(call: takings.Call[takings.Capture], caplog: Any) -> None:
    call.start()
    error = call.abandon()
    assert isinstance(error, takings.OutcomeUnknown)
    assert error.idempotency_key == "the-key"
    # its outcome, which nobody waits for, is told to whoever has not set the log up for it
    call.answered(201, [("Capture-Id", ID)], b"")
    [record] = caplog.records
    assert (record.levelname, record.outcome) == ("WARNING", "captured")


def test_what_it_shows(call: takings.Call[takings.Capture]) -> None:
    assert repr(call) == '<takings.Call order_id="an order" idempotency_key="the-key">'
    with pytest.raises(TypeError):
        pickle.dumps(call)
    with pytest.raises(TypeError):
        takings.Call()
