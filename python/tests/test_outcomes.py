"""Captures and exceptions: what they hold, and that they travel."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import socket
import traceback
from datetime import datetime, timezone
from typing import Any, get_type_hints

import pytest
import takings
from conftest import Sandbox

KINDS: dict[type[takings.TakingsError], str] = {
    takings.InvalidInput: "invalid_input",
    takings.NotSent: "not_sent",
    takings.Rejected: "rejected",
    takings.OutcomeUnknown: "outcome_unknown",
    takings.InternalError: "internal",
}
FIELDS = {
    "message",
    "http_status",
    "error_code",
    "error_messages",
    "correlation_id",
    "order_id",
    "idempotency_key",
    "attempts",
    "attempt_log",
    "retryable",
}


def invalid(sandbox: Sandbox, client: takings.Client) -> None:
    client.capture("order", captured_amount=0, idempotency_key="key")


def not_sent(sandbox: Sandbox, client: takings.Client) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        closed = takings.Client("sandbox", "sandbox", base_url=url, max_attempts=1)
        closed.capture("order", captured_amount=1)


def rejected(sandbox: Sandbox, client: takings.Client) -> None:
    client.capture(sandbox.order(), captured_amount=10_001)


def unknown(sandbox: Sandbox, client: takings.Client) -> None:
    fault = {
        "fault": "status",
        "status": 503,
        "when": "after_commit",
        "error_messages": ["down", "for a while"],
    }
    client.capture(sandbox.order(fault, fault, fault), captured_amount=1)


@pytest.fixture(params=[invalid, not_sent, rejected, unknown], ids=lambda call: call.__name__)
def error(request: Any, sandbox: Sandbox, client: takings.Client) -> takings.TakingsError:
    with pytest.raises(takings.TakingsError) as caught:
        request.param(sandbox, client)
    return caught.value


def test_each_outcome(error: takings.TakingsError) -> None:
    assert error.kind == KINDS[type(error)]
    assert set(vars(error)) == FIELDS
    assert error.order_id
    assert error.idempotency_key
    expected: dict[type[takings.TakingsError], tuple[Any, ...]] = {
        takings.InvalidInput: (None, None, 0, False),
        takings.NotSent: (None, None, 1, True),
        takings.Rejected: (403, "CAPTURE_NOT_ALLOWED", 1, False),
        takings.OutcomeUnknown: (503, "TEMPORARILY_UNAVAILABLE", 3, True),
    }
    found = (error.http_status, error.error_code, error.attempts, error.retryable)
    assert found == expected[type(error)]
    answered = error.http_status is not None
    assert bool(error.correlation_id) == answered
    assert bool(error.error_messages) == answered
    assert isinstance(error.error_messages, tuple)


def test_the_text_is_the_message(error: takings.TakingsError) -> None:
    assert str(error) == error.message == error.args[0]
    assert error.message.isprintable()
    [line] = traceback.format_exception_only(type(error), error)
    assert line.strip() == f"takings.outcomes.{type(error).__name__}: {error.message}"
    shown = repr(error)
    assert shown.startswith(f"{type(error).__name__}({error.message!r}, ")
    assert f"order_id={error.order_id!r}" in shown
    assert "None" not in shown
    # enough to make it again
    made = eval(shown, {type(error).__name__: type(error)})
    assert all(getattr(made, name) == getattr(error, name) for name in FIELDS - {"attempt_log"})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_travel(error: takings.TakingsError, protocol: int) -> None:
    error.__dict__["note"] = "ours"
    for travelled in (
        pickle.loads(pickle.dumps(error, protocol)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(travelled) is type(error)
        assert vars(travelled) == vars(error)
        assert (str(travelled), repr(travelled)) == (str(error), repr(error))


@pytest.mark.parametrize(("error_class", "kind"), KINDS.items())
def test_errors_can_be_made_by_hand(error_class: type[takings.TakingsError], kind: str) -> None:
    error = error_class("lost", order_id="o", idempotency_key="k", attempts=2)
    assert error.kind == kind
    assert issubclass(error_class, takings.TakingsError)
    assert issubclass(error_class, ValueError) == (error_class is takings.InvalidInput)
    assert (error.http_status, error.error_messages) == (None, ())
    assert error.retryable == (kind in ("not_sent", "outcome_unknown"))
    assert error_class("said", retryable=True).retryable
    assert not issubclass(takings.TakingsError, ValueError)


def test_a_rate_limit_is_retryable(sandbox: Sandbox, client: takings.Client) -> None:
    fault = {"fault": "too_many_requests"}
    with pytest.raises(takings.Rejected) as caught:
        client.capture(sandbox.order(fault, fault, fault), captured_amount=1)
    assert caught.value.http_status == 429
    assert caught.value.retryable


def test_a_capture_is_a_value(client: takings.Client, order_id: str) -> None:
    key = takings.new_idempotency_key()
    capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
    again = client.capture(order_id, captured_amount=1, idempotency_key=key)
    assert dataclasses.replace(again, correlation_id=capture.correlation_id) == capture
    assert capture != client.capture(order_id, captured_amount=1)
    for travelled in (
        pickle.loads(pickle.dumps(capture)),
        copy.copy(capture),
        copy.deepcopy(capture),
    ):
        assert travelled == capture
    assert len({capture, copy.copy(capture)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        capture.capture_id = "other"  # type: ignore[misc]  # pyright: ignore
    shown = repr(capture)
    assert shown.startswith(f"Capture(capture_id={capture.capture_id!r}, order_id={order_id!r}, ")
    assert eval(shown, {"Capture": takings.Capture}) == capture


def test_each_attempt_is_told(sandbox: Sandbox, client: takings.Client) -> None:
    unavailable = {"fault": "status", "status": 503}
    order_id = sandbox.order(unavailable, {"fault": "lost_answer"})
    began = datetime.now(timezone.utc)
    capture = client.capture(order_id, captured_amount=1)
    first, lost, last = capture.attempt_log
    assert capture.attempts == 3
    for attempt in capture.attempt_log:
        assert began <= attempt.started <= datetime.now(timezone.utc)
        assert 0 <= attempt.took < 10
        assert (
            attempt.sent == f"POST {client.base_url}ordermanagement/v1/orders/{order_id}/captures"
        )
    assert (first.http_status, first.error_code) == (503, "TEMPORARILY_UNAVAILABLE")
    assert first.came_back == "503 TEMPORARILY_UNAVAILABLE"
    assert first.correlation_id
    assert (lost.http_status, lost.correlation_id) == (None, None)
    assert "closed before an answer came" in lost.came_back
    assert (last.http_status, last.came_back, last.wait) == (201, "201", None)
    assert last.correlation_id == capture.correlation_id
    assert first.wait is not None
    assert 0 <= first.wait < 1
    travelled: takings.Capture = pickle.loads(pickle.dumps(capture))
    assert travelled.attempt_log == copy.deepcopy(capture).attempt_log == capture.attempt_log
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.wait = 0  # type: ignore[misc]  # pyright: ignore


def test_errors_and_looks_tell_their_attempts(
    sandbox: Sandbox, client: takings.Client, order_id: str
) -> None:
    with pytest.raises(takings.Rejected) as caught:
        client.capture(order_id, captured_amount=10_001)
    [attempt] = caught.value.attempt_log
    assert attempt.error_code == "CAPTURE_NOT_ALLOWED"
    [attempt] = client.reconcile(order_id, reference="r", captured_amount=1).attempt_log
    assert attempt.sent.startswith("GET ")
    with pytest.raises(takings.InvalidInput) as refused:
        client.capture(order_id, captured_amount=0)
    assert refused.value.attempt_log == ()


@dataclasses.dataclass(frozen=True)
class Booked(takings.Capture):
    """A shop's own."""

    invoice: str = ""


def test_values_are_dataclasses() -> None:
    attempt = takings.Attempt(datetime.now(timezone.utc), "POST u", 0.5, "201", wait=1.0)
    capture = takings.Capture("c", "o", "k", attempt_log=(attempt,))
    for value in (
        attempt,
        capture,
        takings.Wait(1.0),
        takings.Reconciliation("never", (), "o"),
    ):
        assert dataclasses.is_dataclass(value)
        names = [field.name for field in dataclasses.fields(value)]
        assert list(dataclasses.asdict(value)) == names == list(type(value).__match_args__)
        assert list(inspect.signature(type(value)).parameters) == names
        assert set(get_type_hints(type(value))) == set(names)
        assert not hasattr(value, "__dict__")
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.other = 1  # type: ignore[union-attr]  # pyright: ignore
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, names[0])
        with pytest.raises(TypeError, match=names[0]):
            type(value)()  # type: ignore[call-arg]  # pyright: ignore
    assert capture == takings.Capture("c", "o", "k")
    assert hash(capture) == hash(takings.Capture("c", "o", "k"))
    assert capture != takings.Capture("c", "o", "k", attempts=2)
    another: Any = ("c", "o", "k", None, 1, ())
    assert capture != another

    booked = Booked("c", "o", "k", invoice="i")
    assert booked != capture
    assert booked != Booked("c", "o", "k")
    assert repr(booked).endswith(", warnings=(), invoice='i')")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(booked, protocol)) == booked
        assert pickle.loads(pickle.dumps(capture, protocol)) == capture
