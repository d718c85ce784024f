"""Ctrl-C and SIGTERM end the wait at once, and what was captured meanwhile can be asked for."""

from __future__ import annotations

import random
import signal
import time
import uuid
from typing import Any

import pytest
import takings
from support import Program, Sandbox, python, until, waited_for_processor

WITHIN = 0.1
"""The longest from the signal to the exception, in seconds, without waits for a processor."""

MISSES = 3
"""How often in a row it may take longer: the machine may be busy."""

# Long enough that the signal comes before the end, on a busy machine too.
PHASES: dict[str, list[dict[str, Any]]] = {
    "before the commit": [{"fault": "delay", "seconds": 2, "when": "before_commit"}],
    "after the commit": [{"fault": "delay", "seconds": 2, "when": "after_commit"}],
    "between attempts": [
        {"fault": "lost_answer"},
        {"fault": "too_many_requests", "retry_after": "2"},
    ],
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("number", "exception"),
    [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "SystemExit")],
)
def test_a_signal_ends_the_wait_and_loses_no_outcome(
    sandbox: Sandbox, phase: str, number: signal.Signals, exception: str
) -> None:
    luck = random.Random(phase)
    interrupted: list[tuple[str, str]] = []
    with python("interrupted.py", sandbox.url, "10") as program:
        misses: list[float] = []
        while len(interrupted) < 8:
            order_id, key = sandbox.order(*PHASES[phase]), str(uuid.uuid4())
            took = interrupt(program, sandbox, order_id, key, number, exception, luck)
            interrupted.append((order_id, key))
            misses = [*misses, took] if took > WITHIN else []
            assert len(misses) < MISSES, misses
        # The captures go on after the exception, each to its end.
        for order_id, _ in interrupted:
            until(lambda: sandbox.ledger(order_id), what="the capture")  # noqa: B023
        with takings.Client("sandbox", "sandbox", base_url=sandbox.url) as client:
            for order_id, key in interrupted:
                again = client.capture(order_id, captured_amount=1, idempotency_key=key)
                [entry] = sandbox.ledger(order_id)
                assert entry["capture_id"] == again.capture_id
                assert entry["idempotency_key"] == key
        program.end(within=10)


def interrupt(
    program: Program,
    sandbox: Sandbox,
    order_id: str,
    key: str,
    number: signal.Signals,
    exception: str,
    luck: random.Random,
) -> float:
    program.say(f"{order_id} {key}")
    assert program.hear() == "calling"
    until(lambda: sandbox.requests(order_id), what="the request")
    time.sleep(luck.uniform(0, 0.25))
    waited = waited_for_processor(program.process.pid)
    sent = time.monotonic()
    program.process.send_signal(number)
    told = program.hear().split()
    # The sum can shrink when a thread ends that had waited before.
    waited = max(waited_for_processor(program.process.pid) - waited, 0)
    assert told[1:5] == [exception, "outcome_unknown", order_id, key]
    assert int(told[5]) >= 1
    # All processes of a machine share this clock.
    return float(told[0]) - sent - waited


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_endless_wait(sandbox: Sandbox, number: signal.Signals) -> None:
    """No capture is made, and the process can end although the server never answers."""
    order_id = sandbox.order({"fault": "stall"})
    with python("interrupted.py", sandbox.url, "60") as program:
        program.say(f"{order_id} the-key-{order_id}")
        assert program.hear() == "calling"
        until(lambda: sandbox.requests(order_id), what="the request")
        program.process.send_signal(number)
        assert program.hear().split()[2] == "outcome_unknown"
        program.end(within=5)
    assert sandbox.ledger(order_id) == []
