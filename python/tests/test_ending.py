"""The end of the interpreter, with daemon threads in a call."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from conftest import Sandbox

BEGIN = """
import atexit, os, sys, threading, time

def late():
    print(*later(), flush=True)

later = lambda: ["done"]
atexit.register(late)  # runs behind what takings registers

import takings
client = takings.Client("sandbox", "sandbox", base_url=sys.argv[1], timeout=20)

def daemon(*orders, again=False):
    def work():
        while True:
            for order in orders:
                client.capture(order, captured_amount=1, idempotency_key=f"{order}-1")
            if not again:
                return
    threading.Thread(target=work, daemon=True).start()
"""

# The answer comes a little after the main thread's end, which is when a thread would come back.
IN_A_CALL = """
daemon(sys.argv[2])
time.sleep(0.3)
later = lambda: [time.sleep(0.5)]
"""

# All that a call does goes on in some of them when the interpreter ends.
IN_ALL_OF_IT = """
sys.setswitchinterval(1e-5)
for _ in range(8):
    daemon(sys.argv[2], again=True)
time.sleep(0.2)
"""

# Work at the end may capture, in that thread and in those that it waits for.
AT_THE_END = """
daemon(sys.argv[2], again=True)

def later():
    order = sys.argv[3]
    made = [client.capture(order, captured_amount=1, idempotency_key="a").capture_id]
    def work():
        made.append(client.capture(order, captured_amount=1, idempotency_key="a").capture_id)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    except RuntimeError:
        return made  # Python 3.12 and later start none there
    thread.join()
    return made
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", BEGIN + program, *arguments],
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_call_that_is_answered_meanwhile(sandbox: Sandbox) -> None:
    order_id = sandbox.order({"fault": "delay", "seconds": 0.5, "when": "before_commit"})
    run(IN_A_CALL, sandbox.url, order_id)


def test_a_call_that_is_not_answered_delays_nothing(sandbox: Sandbox) -> None:
    order_id = sandbox.order({"fault": "stall", "seconds": 20, "when": "before_commit"})
    began = time.monotonic()
    run(IN_A_CALL, sandbox.url, order_id)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("time_", range(5))
def test_calls_without_end(sandbox: Sandbox, order_id: str, time_: int) -> None:
    run(IN_ALL_OF_IT, sandbox.url, order_id)


def test_what_is_done_at_the_end_may_capture(sandbox: Sandbox, order_id: str) -> None:
    another = sandbox.order()
    made = run(AT_THE_END, sandbox.url, order_id, another).split()
    [entry] = sandbox.ledger(another)
    assert set(made) == {entry["capture_id"]}
