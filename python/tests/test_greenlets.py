"""Calls in processes that gevent or eventlet has patched: other greenlets run meanwhile.

Each test is a process of its own, since a patch cannot be taken back.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import Sandbox

HUBS = {
    "gevent": """
from gevent import monkey
monkey.patch_all()
import gevent
from gevent import Timeout, spawn, sleep
from gevent.threadpool import ThreadPool
def end(greenlet): return greenlet.get()
def kill(greenlet): greenlet.kill()
def in_thread(work): return ThreadPool(1).apply(work)
def in_hub(work): gevent.get_hub().loop.run_callback(work)
""",
    "eventlet": """
import warnings
# eventlet warns that it is no more developed
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
from eventlet import Timeout, hubs, spawn, sleep, tpool
def end(greenlet): return greenlet.wait()
def kill(greenlet): greenlet.kill()
def in_thread(work): return tpool.execute(work)
def in_hub(work): hubs.get_hub().schedule_call_global(0, work)
""",
}
BEGIN = """
import os, signal, sys, time
import takings
from takings.testing import KlarnaSandbox

signal.alarm(60)
sandbox = KlarnaSandbox()
client = sandbox.client()
def order(*faults):
    return sandbox.create_order(6000, faults=faults)
def slow(seconds=3.0):
    return order({"fault": "delay", "seconds": seconds})
def capture(order_id, client=client, **options):
    return client.capture(order_id, captured_amount=6000, **options)
"""


@pytest.fixture(params=HUBS)
def hub(request: pytest.FixtureRequest) -> str:
    return HUBS[str(request.param)]


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


HEART = """
beats = []
def beat():
    while True:
        beats.append(time.monotonic())
        sleep(0.02)
heart = spawn(beat)
"""


def test_the_worker_goes_on(hub: str) -> None:
    run(
        hub
        + BEGIN
        + HEART
        + """
began = time.monotonic()
orders = [slow() for _ in range(12)]
captures = [end(greenlet) for greenlet in [spawn(capture, order) for order in orders]]
assert time.monotonic() - began < 18, "one after the other"
assert [capture.order_id for capture in captures] == orders
assert max(b - a for a, b in zip(beats, beats[1:])) < 2.5, "the worker stood still"
assert len(beats) > 5
"""
    )


def test_a_retry_and_a_refusal(hub: str) -> None:
    run(
        hub
        + BEGIN
        + """
import logging
logging.basicConfig(stream=sys.stdout)
id = order("lost_answer")
assert end(spawn(capture, id)).attempts == 2
assert len(sandbox.ledger(id)) == 1
try:
    capture(id)
except takings.Rejected as error:
    assert error.error_code == "CAPTURE_NOT_ALLOWED"
else:
    raise AssertionError
closed = takings.Client("u", "p", base_url="http://127.0.0.1:1", max_attempts=2, backoff=0.01)
try:
    capture("order", closed)
except takings.NotSent as error:
    assert error.attempts == 2
else:
    raise AssertionError
"""
    )


SHORT = {
    "descriptors": """
free = os.dup(0)
os.close(free)
limit(resource.RLIMIT_NOFILE, free)
""",
    # root has no such limit
    "threads": """
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
limit(resource.RLIMIT_NPROC, 1)
""",
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count other things")
@pytest.mark.parametrize("of", SHORT)
def test_where_no_thread_can_wait_the_worker_does(hub: str, of: str) -> None:
    """It stands still for as long; the money moves all the same."""
    run(
        hub
        + BEGIN
        + HEART
        + """
import resource
limits = []
def limit(what, most):
    usual, hard = resource.getrlimit(what)
    limits.append((what, (usual, hard)))
    resource.setrlimit(what, (most, hard))
orders = [slow(), slow()]
sleep(0.1)
# its connection serves the others too
capture(order())
"""
        + SHORT[of]
        + """
before = len(beats)
assert capture(orders[0]).order_id == orders[0]
still = len(beats) - before
for what, usual in limits:
    resource.setrlimit(what, usual)
before = len(beats)
assert capture(orders[1]).order_id == orders[1]
assert (still, len(beats) - before > 5) == (0, True), (still, len(beats) - before)
assert [len(sandbox.ledger(order)) for order in orders] == [1, 1]
"""
    )


TRANSPORTS = {
    "none": "over = client",
    "requests": "import requests; over = sandbox.client(transport=requests.Session())",
    "httpx": "import httpx; over = sandbox.client(transport=httpx.Client())",
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_time_out_of_the_program(hub: str, transport: str) -> None:
    """The truth about the money is its cause, and the capture that is on its way goes on."""
    run(
        hub
        + BEGIN
        + HEART
        + TRANSPORTS[transport]
        + """
id = slow()
began = time.monotonic()
try:
    with Timeout(0.5):
        capture(id, over, idempotency_key="key")
except Timeout as late:
    assert time.monotonic() - began < 2.5
    assert isinstance(late.__cause__, takings.OutcomeUnknown), late.__cause__
    assert late.__cause__.idempotency_key == "key"
else:
    raise AssertionError
assert len(beats) > 5
while not sandbox.ledger(id):
    sleep(0.05)
again = capture(id, idempotency_key="key")
assert [entry["capture_id"] for entry in sandbox.ledger(id)] == [again.capture_id]
"""
    )


def test_a_greenlet_that_is_killed(hub: str) -> None:
    run(
        hub
        + BEGIN
        + """
id = slow()
caught = []
def attempt():
    try:
        capture(id, idempotency_key="key")
    except BaseException as error:
        caught.append(error)
        raise
greenlet = spawn(attempt)
while not sandbox.requests(id):
    sleep(0.05)
kill(greenlet)
[error] = caught
assert type(error).__name__ == "GreenletExit"
assert isinstance(error.__cause__, takings.OutcomeUnknown)
while not sandbox.ledger(id):
    sleep(0.05)
assert capture(id, idempotency_key="key").capture_id
assert len(sandbox.ledger(id)) == 1
"""
    )


def test_a_greenlet_that_is_killed_before_it_hears_of_a_retry(hub: str) -> None:
    """The capture goes on in the background, also where its first attempt has just ended."""
    run(
        hub
        + BEGIN
        + """
id = order("reset_before_commit")
caught = []
def attempt():
    try:
        capture(id, idempotency_key="key")
    except BaseException as error:
        caught.append(error)
        raise
greenlet = spawn(attempt)
sleep(0)
until = time.monotonic() + 1
while time.monotonic() < until:
    pass
kill(greenlet)
[error] = caught
assert isinstance(error.__cause__, takings.OutcomeUnknown), error.__cause__
while not sandbox.ledger(id):
    sleep(0.05)
"""
    )


def test_ctrl_c(hub: str) -> None:
    run(
        hub
        + BEGIN
        + """
sys.stderr = open(os.devnull, "w")  # gevent names there each KeyboardInterrupt
# a signal that comes while every greenlet waits, as a key that is pressed does
signal.signal(signal.SIGALRM, signal.default_int_handler)
id = slow()
signal.setitimer(signal.ITIMER_REAL, 1)
try:
    capture(id, idempotency_key="key")
except KeyboardInterrupt as interrupt:
    assert isinstance(interrupt.__cause__, takings.OutcomeUnknown)
else:
    raise AssertionError
"""
    )


def test_where_no_hub_can_be_waited_with(hub: str) -> None:
    """The hub itself, and a thread of the machine's, wait for their calls as usual."""
    run(
        hub
        + BEGIN
        + """
ids = [order(), order()]
done = []
in_hub(lambda: done.append(capture(ids[0])))
while not done:
    sleep(0.02)
assert done[0].order_id == ids[0]
assert in_thread(lambda: capture(ids[1])).order_id == ids[1]
"""
    )


def test_a_fork_during_a_wait() -> None:
    """The copy of the greenlet in the child ends without an outcome, and only there. (eventlet
    shares the hub's epoll with a forked child, which no greenlet survives.)"""
    run(
        HUBS["gevent"]
        + BEGIN
        + """
id = slow()
said = os.pipe()
parent = os.getpid()
def attempt():
    try:
        return capture(id, idempotency_key="key")
    except BaseException as error:
        if os.getpid() == parent:
            raise
        os.write(said[1], type(error).__name__.encode())
        os._exit(0)
greenlet = spawn(attempt)
while not sandbox.requests(id):
    sleep(0.02)
if os.fork() == 0:
    sleep(5)
    os._exit(1)
assert end(greenlet).idempotency_key == "key"
assert os.wait()[1] == 0
assert os.read(said[0], 100) == b"OutcomeUnknown"
"""
    )


def test_the_end_of_the_process_during_a_call(hub: str) -> None:
    run(
        hub
        + BEGIN
        + """
id = slow()
spawn(capture, id)
while not sandbox.requests(id):
    sleep(0.02)
"""
    )


def test_the_libraries_unpatched(hub: str, sandbox: Sandbox) -> None:
    """In a process that has one of them loaded, and not patched, a call waits as in any other."""
    name = "gevent" if "gevent" in hub else "eventlet"
    program = f"""
import warnings
warnings.simplefilter("ignore")
import {name}
{"from gevent import monkey" if name == "gevent" else "from eventlet import patcher"}
{BEGIN}
assert capture(order()).attempts == 1
"""
    run(program)
