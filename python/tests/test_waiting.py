"""While a call waits: other threads, Ctrl-C, forked processes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import takings
from conftest import Sandbox

HANGS = 10
"""So many seconds nothing takes, on however busy a machine, but what waits for its time-out."""


def delay(seconds: float) -> dict[str, Any]:
    return {"fault": "delay", "seconds": seconds, "when": "before_commit"}


def until_captured(sandbox: Sandbox, order_id: str) -> None:
    deadline = time.monotonic() + 10
    while not sandbox.ledger(order_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- threads ------------------------------------------------------------------------------


def test_slow_calls_overlap(sandbox: Sandbox, client: takings.Client) -> None:
    orders = [sandbox.order(delay(1)) for _ in range(8)]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.capture, order_id, captured_amount=1) for order_id in orders]
        captures = [call.result() for call in calls]
    # The calls would take 8 s one after the other.
    assert 1 <= time.monotonic() - began < 6
    assert [capture.order_id for capture in captures] == orders


def test_the_interpreter_is_free_while_waiting(sandbox: Sandbox, client: takings.Client) -> None:
    """Also in the main thread, which waits in its own way."""
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.01):
            ticks.append(time.monotonic())

    ticker = threading.Thread(target=tick)
    ticker.start()
    client.capture(sandbox.order(delay(0.5)), captured_amount=1)
    done.set()
    ticker.join()
    # a handful on a busy machine, none where the interpreter is held
    assert len(ticks) > 5


def test_closing_while_another_thread_waits(sandbox: Sandbox) -> None:
    client = takings.Client("sandbox", "sandbox", base_url=sandbox.url)
    order_id = sandbox.order(delay(1))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.capture, order_id, captured_amount=1)
        sandbox.until_requested(order_id)
        client.close()
        assert waiting.result().order_id == order_id


# --- Ctrl-C -------------------------------------------------------------------------------

INTERRUPTED = """
import sys, time, takings
url, order_id = sys.argv[1:]
client = takings.Client("sandbox", "sandbox", base_url=url)
print("calling", flush=True)
try:
    client.capture(order_id, captured_amount=1, idempotency_key="the-key")
except KeyboardInterrupt as interrupt:
    error = interrupt.__cause__
    assert type(error) is takings.OutcomeUnknown, error
    print(error.kind, error.order_id, error.idempotency_key, error.retryable, error.attempts)
    print(error, flush=True)
    client.close()
    sys.stdin.read()  # the process goes on
"""


def interrupted(sandbox: Sandbox, order_id: str) -> tuple[subprocess.Popen[str], float]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", INTERRUPTED, sandbox.url, order_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "calling\n"
    sandbox.until_requested(order_id)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    facts = process.stdout.readline()
    took = time.monotonic() - began
    assert facts == f"outcome_unknown {order_id} the-key True 1\n", process.communicate()[1]
    message = process.stdout.readline()
    assert "may have been captured" in message
    assert "interrupted" in message
    assert "the-key" in message
    return process, took


def test_ctrl_c_leaves_a_known_outcome(sandbox: Sandbox) -> None:
    order_id = sandbox.order(delay(3))
    process, took = interrupted(sandbox, order_id)
    with process:
        assert took < 2.5
        assert sandbox.ledger(order_id) == []
        # the capture goes on to its outcome
        until_captured(sandbox, order_id)
        process.communicate(timeout=120)
        assert process.returncode == 0
    [entry] = sandbox.ledger(order_id)
    assert entry["idempotency_key"] == "the-key"


def test_the_process_can_end_after_ctrl_c(sandbox: Sandbox) -> None:
    order_id = sandbox.order({"fault": "stall", "seconds": 20, "when": "before_commit"})
    process, _ = interrupted(sandbox, order_id)
    with process:
        began = time.monotonic()
        _, complaints = process.communicate(timeout=120)
        assert time.monotonic() - began < 5
        assert (process.returncode, complaints) == (0, "")


class Alarm(Exception):
    pass


@pytest.fixture
def alarm(sandbox: Sandbox) -> Any:
    """Sets the handler of an alarm that rings once a request for the order has come."""
    before = signal.getsignal(signal.SIGALRM)

    def set_alarm(
        handler: Callable[[int, object], None], order_id: str
    ) -> contextlib.AbstractContextManager[None]:
        signal.signal(signal.SIGALRM, handler)
        return sandbox.signals(order_id, signal.SIGALRM)

    yield set_alarm
    signal.signal(signal.SIGALRM, before)


def test_what_a_signal_handler_raises(sandbox: Sandbox, client: takings.Client, alarm: Any) -> None:
    def ring(*_: object) -> None:
        raise Alarm

    order_id = sandbox.order(delay(5))
    began = time.monotonic()
    with alarm(ring, order_id), pytest.raises(Alarm) as caught:
        client.capture(order_id, captured_amount=1)
    assert time.monotonic() - began < 4.5
    cause = caught.value.__cause__
    assert isinstance(cause, takings.OutcomeUnknown)
    assert cause.idempotency_key
    until_captured(sandbox, order_id)
    # the key leads to the same capture
    again = client.capture(order_id, captured_amount=1, idempotency_key=cause.idempotency_key)
    [entry] = sandbox.ledger(order_id)
    assert entry["capture_id"] == again.capture_id


def test_a_handlers_own_cause_is_kept(sandbox: Sandbox, client: takings.Client, alarm: Any) -> None:
    def ring(*_: object) -> None:
        raise Alarm from ZeroDivisionError()

    order_id = sandbox.order(delay(1))
    with alarm(ring, order_id), pytest.raises(Alarm) as caught:
        client.capture(order_id, captured_amount=1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_signal_handler_that_raises_nothing(
    sandbox: Sandbox, client: takings.Client, alarm: Any
) -> None:
    rung: list[float] = []

    def ring(*_: object) -> None:
        rung.append(time.monotonic())

    order_id = sandbox.order(delay(2))
    with alarm(ring, order_id):
        client.capture(order_id, captured_amount=1)
    # handled while the call was waiting
    assert time.monotonic() - rung[0] > 0.4


def test_a_thread_is_not_interrupted(sandbox: Sandbox, client: takings.Client, alarm: Any) -> None:
    def ring(*_: object) -> None:
        raise Alarm

    order_id = sandbox.order(delay(1))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.capture, order_id, captured_amount=1)
        # The signal may come before the alarm's context has been entered.
        with pytest.raises(Alarm), alarm(ring, order_id):
            waiting.result()
        assert waiting.result().order_id == order_id


# --- short of everything ------------------------------------------------------------------

FEW_DESCRIPTORS = """
import os, resource, sys, time, takings
usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
for descriptors in range(3, 16):
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
    # the client before may still have a connection to close; one of these is this look's own
    while len(os.listdir("/dev/fd")) > 4:
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, most))
    with takings.Client("sandbox", "sandbox", base_url=sys.argv[1], max_attempts=1) as client:
        try:
            client.capture("order", captured_amount=1)
        except takings.TakingsError as error:
            print(error.kind)
"""


def test_few_free_descriptors(sandbox: Sandbox) -> None:
    """Whichever is the one too many, nothing but a TakingsError comes out."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", FEW_DESCRIPTORS, sandbox.url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    kinds = done.stdout.split()
    assert len(kinds) == 13
    # short of one, then short of none: the order is not known there
    assert kinds == sorted(kinds)
    assert set(kinds) == {"not_sent", "rejected"}


# --- forked processes ---------------------------------------------------------------------


def in_child(work: Callable[[], str]) -> str:
    """What `work` returns in a child made by fork."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            result = work()
        except BaseException as error:
            result = f"failed: {error!r}"
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert not result.startswith("failed"), result
    return result


def test_a_used_client_after_fork(sandbox: Sandbox, client: takings.Client) -> None:
    client.capture(sandbox.order(), captured_amount=1)
    keys = {client.capture(sandbox.order(), captured_amount=1).idempotency_key}
    for _ in range(5):
        order_id = sandbox.order()
        began = time.monotonic()
        keys.add(in_child(lambda: client.capture(order_id, captured_amount=1).idempotency_key))  # noqa: B023
        assert time.monotonic() - began < HANGS
        assert len(sandbox.ledger(order_id)) == 1
        order_id = sandbox.order()
        keys.add(client.capture(order_id, captured_amount=1).idempotency_key)
    assert len(keys) == 11


def test_fork_in_the_middle_of_a_call(sandbox: Sandbox, client: takings.Client) -> None:
    slow, quick = sandbox.order(delay(3)), sandbox.order()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.capture, slow, captured_amount=1)
        sandbox.until_requested(slow)
        assert in_child(lambda: client.capture(quick, captured_amount=1).order_id) == quick
        assert not waiting.done()
        assert waiting.result().order_id == slow
    assert len(sandbox.ledger(slow)) == len(sandbox.ledger(quick)) == 1


@pytest.mark.parametrize("how", ["close", "collect"])
@pytest.mark.parametrize("used", [False, True])
def test_a_client_freed_in_a_child(sandbox: Sandbox, how: str, used: bool) -> None:
    clients = [takings.Client("sandbox", "sandbox", base_url=sandbox.url)]
    clients[0].capture(sandbox.order(), captured_amount=1)
    order_id = sandbox.order()

    def free() -> str:
        if used:
            clients[0].capture(order_id, captured_amount=1)
        if how == "close":
            clients[0].close()
        clients.clear()
        gc.collect()
        return "freed"

    began = time.monotonic()
    assert in_child(free) == "freed"
    assert time.monotonic() - began < HANGS
    # the parent's own is untouched
    assert clients[0].capture(sandbox.order(), captured_amount=1)


shared: takings.Client


def capture_in_worker(order_id: str) -> tuple[int, takings.Capture]:
    return os.getpid(), shared.capture(order_id, captured_amount=6000)


def test_a_pool_of_forked_processes(sandbox: Sandbox, client: takings.Client) -> None:
    """As gunicorn and celery do it: made and used before the fork, then by every worker."""
    global shared
    shared = client
    shared.capture(sandbox.order(), captured_amount=1)
    orders = [sandbox.order(delay(0.2)) for _ in range(12)]
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=fork) as pool:
        done = list(pool.map(capture_in_worker, orders))
        assert len({process for process, _ in done}) > 1
        assert os.getpid() not in {process for process, _ in done}
        assert len({capture.idempotency_key for _, capture in done}) == len(orders)
        for order_id in orders:
            assert len(sandbox.ledger(order_id)) == 1
        # exceptions come back whole
        with pytest.raises(takings.Rejected, match="CAPTURE_NOT_ALLOWED") as caught:
            pool.submit(capture_in_worker, orders[0]).result()
        assert caught.value.error_code == "CAPTURE_NOT_ALLOWED"
        assert caught.value.order_id == orders[0]


@pytest.mark.parametrize("outcome", ["Capture", "Rejected"])
def test_a_signal_while_the_outcome_is_made_keeps_the_key(
    client: takings.Client, order_id: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making Python's object for the outcome runs Python, and with it the handler of a signal
    that came a moment before the answer."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    made = getattr(takings.outcomes, outcome)
    if outcome == "Capture":
        monkeypatch.setattr(made, "_made_of", interrupted)
    else:
        monkeypatch.setattr(takings.outcomes, outcome, interrupted)
    amount = 10 if outcome == "Capture" else 10_001
    with pytest.raises(KeyboardInterrupt) as raised:
        client.capture(
            order_id, captured_amount=amount, idempotency_key=f"kept-{outcome}", first_use=True
        )
    cause = raised.value.__cause__
    assert isinstance(cause, takings.OutcomeUnknown)
    assert (cause.idempotency_key, cause.order_id) == (f"kept-{outcome}", order_id)
