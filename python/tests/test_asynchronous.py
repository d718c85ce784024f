"""`AsyncClient`: calls that overlap, cancelled waits, the ends of loops and processes."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import gc
import http.server
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
import pytest
import takings
import uvloop
from conftest import Sandbox

USUAL: dict[str, Any] = {"username": "sandbox", "password": "sandbox", "backoff": 0.002}


def delay(seconds: float) -> dict[str, Any]:
    return {"fault": "delay", "seconds": seconds, "when": "before_commit"}


class Held:
    """A server of one answer, a capture's, which it gives once the test allows it."""

    def __init__(self) -> None:
        self.came, self.answers = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._serving = threading.Thread(target=self._serve)
        self._serving.start()

    def close(self) -> None:
        self.answers.set()
        self._serving.join()
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        self._listener.settimeout(60)
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65536)
            self.came.set()
            self.answers.wait(60)
            head = b"HTTP/1.1 201 Created\r\nCapture-Id: abc\r\n"
            connection.sendall(head + b"Connection: close\r\nContent-Length: 0\r\n\r\n")


async def requested(sandbox: Sandbox, order_id: str) -> None:
    """Returns once a request for the order has come; meanwhile the loop goes on."""
    deadline = time.monotonic() + 20
    while not sandbox.requests(order_id):
        assert time.monotonic() < deadline, "no request came"
        await asyncio.sleep(0.01)


@pytest.fixture
def key() -> str:
    return takings.new_idempotency_key()


Clients = Callable[..., Any]


@pytest.fixture(params=["own connections", "httpx"])
def clients(sandbox: Sandbox, request: Any) -> Clients:
    """Makes an AsyncClient, closed at the end with the HTTP client that it sends over."""

    @asynccontextmanager
    async def made(**settings: Any) -> AsyncGenerator[takings.AsyncClient]:
        settings = {**USUAL, "base_url": sandbox.url, **settings}
        if request.param == "httpx":
            async with (
                httpx.AsyncClient(trust_env=False) as http,
                takings.AsyncClient(transport=http, **settings) as client,
            ):
                yield client
        else:
            async with takings.AsyncClient(**settings) as client:
                yield client

    return made


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: Any) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            # a thread of its own, as asyncio.Runner comes with 3.11 only
            return pool.submit(_run, request.param(), work).result()

    return run


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def test_calls_overlap(sandbox: Sandbox, clients: Clients, run: Any) -> None:
    orders = [sandbox.order(delay(1)) for _ in range(8)]

    async def ship() -> tuple[list[takings.Capture], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        async with clients() as client:
            ticking = asyncio.ensure_future(tick())
            captures = await asyncio.gather(
                *(client.capture(order_id, captured_amount=1) for order_id in orders)
            )
            ticking.cancel()
            return captures, ticks

    began = time.monotonic()
    captures, ticks = run(ship())
    # The calls would take 8 s one after the other.
    assert 1 <= time.monotonic() - began < 6
    # The loop is free all the while; a busy machine slows it.
    assert ticks > 10
    assert [capture.order_id for capture in captures] == orders
    for capture in captures:
        [entry] = sandbox.ledger(capture.order_id)
        assert entry["capture_id"] == capture.capture_id


def test_a_lost_answer_and_a_look(key: str, sandbox: Sandbox, clients: Clients, run: Any) -> None:
    order_id = sandbox.order({"fault": "lost_answer"})

    async def ship() -> tuple[takings.Capture, takings.Reconciliation]:
        async with clients() as client:
            capture = await client.capture(
                order_id, {"captured_amount": 1, "reference": "r"}, idempotency_key=key
            )
            return capture, await client.reconcile(order_id, reference="r", captured_amount=1)

    capture, found = run(ship())
    assert (capture.attempts, len(capture.attempt_log)) == (2, 2)
    assert capture.idempotency_key == key
    assert found.capture_id == capture.capture_id
    assert len(sandbox.ledger(order_id)) == 1


def test_errors_come_as_they_are(clients: Clients, order_id: str) -> None:
    async def ship() -> None:
        async with clients() as client:
            with pytest.raises(takings.Rejected, match="CAPTURE_NOT_ALLOWED"):
                await client.capture(order_id, captured_amount=10_001)
            with pytest.raises(takings.InvalidInput, match=r"captured_amount is 1\.5, a float"):
                await client.capture(order_id, captured_amount=1.5)
        with pytest.raises(takings.InvalidInput, match="the client is closed"):
            await client.capture(order_id, captured_amount=1)
        assert repr(client) == "<takings.AsyncClient closed>"

    asyncio.run(ship())


def test_a_cancelled_wait_leaves_the_capture_running(
    key: str, sandbox: Sandbox, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = sandbox.order(delay(0.6))

    async def ship() -> None:
        async with clients() as client:

            async def capture() -> None:
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await client.capture(order_id, captured_amount=1, idempotency_key=key)
                error = cancelled.value.__cause__
                assert isinstance(error, takings.OutcomeUnknown), error
                assert (error.idempotency_key, error.order_id) == (key, order_id)

            task = asyncio.ensure_future(capture())
            await requested(sandbox, order_id)
            task.cancel()
            await task
            assert sandbox.ledger(order_id) == []
            # as often as it is asked for; a cancelled wait for it changes nothing
            waiting = asyncio.ensure_future(client.outcome(key))
            await asyncio.sleep(0)
            waiting.cancel()
            made = await client.outcome(key)
            assert await client.outcome(type("Text", (str,), {})(key)) == made
            [entry] = sandbox.ledger(order_id)
            assert entry["capture_id"] == made.capture_id
            with pytest.raises(takings.InvalidInput, match="idempotency_key is that of no capture"):
                await client.outcome("another-key")

    asyncio.run(ship())
    # nobody waited for it, and so whoever reads the log has to know
    [record] = caplog.records
    assert (record.levelname, record.__dict__["outcome"]) == ("WARNING", "captured")


def test_the_outcome_of_a_cancelled_wait_may_be_an_error(
    key: str, sandbox: Sandbox, clients: Clients
) -> None:
    order_id = sandbox.order(delay(2))

    async def ship() -> None:
        async with clients() as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    client.capture(
                        order_id, captured_amount=10_001, idempotency_key=key, first_use=True
                    ),
                    1,
                )
            with pytest.raises(takings.Rejected):
                await client.outcome(key)

    asyncio.run(ship())


def test_one_that_waits_for_its_turn_is_not_sent_any_more(key: str, sandbox: Sandbox) -> None:
    slow, late = sandbox.order(delay(2)), sandbox.order()

    async def ship() -> None:
        async with takings.AsyncClient(**USUAL, base_url=sandbox.url, max_concurrency=1) as client:
            first = asyncio.ensure_future(client.capture(slow, captured_amount=1))
            await requested(sandbox, slow)

            async def second() -> None:
                with pytest.raises(asyncio.CancelledError) as cancelled:
                    await client.capture(late, captured_amount=1, idempotency_key=key)
                # Certainly nothing was sent.
                assert cancelled.value.__cause__ is None

            waiting = asyncio.ensure_future(second())
            await asyncio.sleep(0.1)
            waiting.cancel()
            await waiting
            with pytest.raises(takings.InvalidInput):
                await client.outcome(key)
            await first
            assert sandbox.requests(late) == []
            await client.capture(late, captured_amount=1, idempotency_key=key)

    asyncio.run(ship())
    assert len(sandbox.ledger(late)) == 1


def test_no_more_run_at_a_time_than_asked_for(sandbox: Sandbox) -> None:
    orders = [sandbox.order(delay(0.3)) for _ in range(4)]

    async def ship() -> None:
        async with takings.AsyncClient(**USUAL, base_url=sandbox.url, max_concurrency=2) as client:
            await asyncio.gather(*(client.capture(each, captured_amount=1) for each in orders))

    began = time.monotonic()
    asyncio.run(ship())
    assert time.monotonic() - began > 0.6


def test_many_wait_their_turn(sandbox: Sandbox, run: Any) -> None:
    orders = [sandbox.order() for _ in range(200)]

    async def ship() -> list[takings.Capture]:
        async with takings.AsyncClient(**USUAL, base_url=sandbox.url, max_concurrency=8) as client:
            threads = threading.active_count()
            captures = await asyncio.gather(
                *(client.capture(each, captured_amount=1) for each in orders)
            )
            assert threading.active_count() == threads
            return captures

    captures = run(ship())
    assert [capture.order_id for capture in captures] == orders
    for capture in captures:
        [entry] = sandbox.ledger(capture.order_id)
        assert entry["capture_id"] == capture.capture_id


def test_closing_waits_for_what_runs(sandbox: Sandbox, clients: Clients) -> None:
    order_id = sandbox.order(delay(0.5))

    async def ship() -> takings.Capture:
        async with clients() as client:
            capture = asyncio.ensure_future(client.capture(order_id, captured_amount=1))
            await asyncio.sleep(0.1)
        assert capture.done()
        made: takings.Capture = await capture
        return made

    assert asyncio.run(ship()).order_id == order_id


def test_several_loops_and_threads_share_one(sandbox: Sandbox) -> None:
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)
    orders = [[sandbox.order(delay(0.1)) for _ in range(5)] for _ in range(4)]

    async def ship(orders: list[str]) -> list[str]:
        captures = [client.capture(order_id, captured_amount=1) for order_id in orders]
        return [capture.order_id for capture in await asyncio.gather(*captures)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = [each.result() for each in [pool.submit(asyncio.run, ship(own)) for own in orders]]
    assert done == orders
    asyncio.run(client.aclose())


@pytest.mark.filterwarnings("ignore", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_ends_with_its_loop(
    key: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Over the program's own HTTP client a capture cannot outlive the loop; then it is told."""
    order_id = sandbox.order(delay(1))

    async def ship() -> None:
        http = httpx.AsyncClient(trust_env=False)
        client = takings.AsyncClient(**USUAL, base_url=sandbox.url, transport=http)
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        holding.append(asyncio.ensure_future(capture))
        await requested(sandbox, order_id)

    holding: list[Any] = []
    asyncio.run(ship())
    # with the connection that nobody has closed
    holding.clear()
    gc.collect()
    [record] = caplog.records
    facts = (record.levelname, record.__dict__["outcome"], record.__dict__["idempotency_key"])
    assert facts == ("WARNING", "outcome_unknown", key)


def begun(
    sandbox: Sandbox, order_id: str, key: str, loop: asyncio.AbstractEventLoop, **settings: Any
) -> takings.AsyncClient:
    """A client whose capture goes on alone, for as long as the loop runs."""

    async def begin() -> takings.AsyncClient:
        http = httpx.AsyncClient(trust_env=False)
        client = takings.AsyncClient(transport=http, base_url=sandbox.url, **USUAL, **settings)
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        task = asyncio.ensure_future(capture)
        await requested(sandbox, order_id)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return client

    return loop.run_until_complete(begin())


def state_of(client: takings.AsyncClient) -> Any:
    """The calls and turns of this process."""
    inside: Any = client
    return inside._of_this_process()


def elsewhere(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs it on another loop, for 20 seconds at most."""
    return asyncio.run(asyncio.wait_for(work, 20))


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
LEFT = pytest.mark.filterwarnings("ignore", "ignore::pytest.PytestUnraisableExceptionWarning")


@LOOPS
@LEFT
def test_a_closed_loop_leaves_the_outcome_unknown(
    key: str, sandbox: Sandbox, new_loop: Any
) -> None:
    """At once, long before the capture's time is over, and as often as it is asked for."""
    loop = new_loop()
    client = begun(sandbox, sandbox.order(delay(2)), key, loop)
    loop.close()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(takings.OutcomeUnknown, match="was interrupted") as caught:
            elsewhere(client.outcome(key))
        assert caught.value.idempotency_key == key
        elsewhere(client.aclose())
    assert time.monotonic() - began < 10


@LOOPS
@LEFT
def test_a_loop_is_closed_while_another_waits(key: str, sandbox: Sandbox, new_loop: Any) -> None:
    loop = new_loop()
    client = begun(sandbox, sandbox.order(delay(2)), key, loop)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        outcome = pool.submit(elsewhere, client.outcome(key))
        closing = pool.submit(elsewhere, client.aclose())
        time.sleep(0.3)
        assert not outcome.done()
        assert not closing.done()
        loop.close()
        with pytest.raises(takings.OutcomeUnknown):
            outcome.result(10)
        closing.result(10)


@LOOPS
@LEFT
def test_a_loop_that_nobody_runs(key: str, sandbox: Sandbox, new_loop: Any) -> None:
    loop = new_loop()
    client = begun(sandbox, sandbox.order(delay(6)), key, loop, timeout=3)
    began = time.monotonic()
    with pytest.raises(takings.OutcomeUnknown, match="was interrupted"):
        elsewhere(client.outcome(key))
    elsewhere(client.aclose())
    assert 0.4 < time.monotonic() - began < 13
    # run again it goes on to its end
    with pytest.raises(takings.OutcomeUnknown, match="no answer within"):
        loop.run_until_complete(client.outcome(key))
    loop.close()


@LOOPS
@LEFT
def test_a_loop_that_is_run_now_and_then(key: str, sandbox: Sandbox, new_loop: Any) -> None:
    order_id = sandbox.order(delay(0.8))
    loop = new_loop()
    client = begun(sandbox, order_id, key, loop)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(elsewhere, client.outcome(key))
        time.sleep(0.3)
        for _ in range(100):
            loop.run_until_complete(asyncio.sleep(0.1))
            if outcome.done():
                break
        assert outcome.result(1).order_id == order_id
    loop.run_until_complete(client.aclose())
    loop.close()


@LOOPS
@LEFT
@pytest.mark.parametrize("lives_on", [False, True], ids=["no task", "task"])
def test_own_connections_outlive_a_closed_loop(
    key: str, sandbox: Sandbox, new_loop: Any, lives_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has to ask: a thread goes on at once."""
    order_id = sandbox.order({"fault": "status", "status": 503}, delay(1))
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)
    loop = new_loop()

    async def begin() -> asyncio.Task[Any]:
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        task = asyncio.ensure_future(capture)
        await requested(sandbox, order_id)
        if not lives_on:
            task.cancel()
            await asyncio.wait([task])
        return task

    task: Any = loop.run_until_complete(begin())
    # asyncio would tell of the task in the log of a later test
    task._log_destroy_pending = False
    assert sandbox.ledger(order_id) == []
    loop.close()
    for _ in range(500):
        if sandbox.ledger(order_id):
            break
        time.sleep(0.01)
    else:
        pytest.fail("nobody goes on")
    assert elsewhere(client.outcome(key)).attempts == 2
    elsewhere(client.aclose())
    told = [(record.levelname, record.__dict__["outcome"]) for record in caplog.records]
    assert told == [("WARNING", "503 TEMPORARILY_UNAVAILABLE"), ("WARNING", "captured")]
    assert task.done() is not lives_on


@LOOPS
def test_own_connections_outlive_a_loop_that_nobody_runs(
    key: str, sandbox: Sandbox, new_loop: Any
) -> None:
    """A thread takes over when somebody asks; run again, the loop has the outcome as well."""
    order_id = sandbox.order(delay(0.5))
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)
    loop = new_loop()

    async def begin() -> asyncio.Task[takings.Capture]:
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        task = asyncio.ensure_future(capture)
        await requested(sandbox, order_id)
        return task

    task = loop.run_until_complete(begin())
    made = elsewhere(client.outcome(key))
    assert loop.run_until_complete(task) == made
    elsewhere(client.aclose())
    loop.close()


@LOOPS
def test_a_socket_with_the_number_of_one_that_a_thread_closed(key: str, new_loop: Any) -> None:
    """The loop waits for it, though it waited for a capture's socket of that number."""
    loop = new_loop()
    waited: list[int] = []

    async def begin(client: takings.AsyncClient) -> None:
        capture = client.capture("order-1", captured_amount=1, idempotency_key=key)
        holding.append(asyncio.ensure_future(capture))
        while not server.came.is_set():
            await asyncio.sleep(0.01)

    async def end(client: takings.AsyncClient) -> takings.Capture:
        outcome = asyncio.ensure_future(client.outcome(key))
        await asyncio.sleep(0.2)
        server.answers.set()
        return await outcome

    async def others() -> list[bytes]:
        pairs = [socket.socketpair() for _ in range(4)]
        numbers = {each.fileno() for pair in pairs for each in pair}
        assert numbers >= set(waited)
        got: list[bytes] = []
        for pair in pairs:
            for own, other in (pair, pair[::-1]):
                own.setblocking(False)
                reading = asyncio.ensure_future(loop.sock_recv(own, 1))
                await asyncio.sleep(0.02)
                other.send(b"x")
                got.append(await asyncio.wait_for(reading, 10))
        for pair in pairs:
            for own in pair:
                own.close()
        return got

    holding: list[asyncio.Task[takings.Capture]] = []
    with closing(Held()) as server:
        client = takings.AsyncClient(**USUAL, base_url=server.url)
        loop.run_until_complete(begin(client))
        running: Any
        [running] = state_of(client).running
        waited.extend(running.watch()._waits[1])
        assert elsewhere(end(client)).capture_id == "abc"
        assert loop.run_until_complete(others()) == [b"x"] * 8
    assert loop.run_until_complete(holding[0]).capture_id == "abc"
    elsewhere(client.aclose())
    loop.close()


@LOOPS
def test_an_interrupt_between_a_step_and_its_result(
    key: str, new_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C is raised where the compiled function has returned: the capture goes on."""
    loop = new_loop()
    own_call: Any = vars(takings)["_asynchronous"]._OwnCall
    step = own_call.go_on

    class Interrupted:
        def __init__(self, call: Any) -> None:
            self.call = call

        def __getattr__(self, name: str) -> Any:
            return getattr(self.call, name)

        def _go_on(self, blocks: bool) -> Any:
            assert type(self.call._go_on(blocks)) is tuple
            raise KeyboardInterrupt

    def go_on(own: Any, blocks: bool) -> Any:
        monkeypatch.undo()
        whole, own.call = own.call, Interrupted(own.call)
        try:
            return step(own, blocks)
        finally:
            own.call = whole

    async def ship() -> None:
        monkeypatch.setattr(own_call, "go_on", go_on)
        await client.capture("order-1", captured_amount=1, idempotency_key=key)

    # The server takes one request: a second one would find nobody.
    with closing(Held()) as server:
        client = takings.AsyncClient(**USUAL, base_url=server.url)
        with pytest.raises(KeyboardInterrupt) as caught:
            loop.run_until_complete(ship())
        assert isinstance(caught.value.__cause__, takings.OutcomeUnknown)
        server.answers.set()
        assert loop.run_until_complete(client.outcome(key)).capture_id == "abc"
    loop.run_until_complete(client.aclose())
    loop.close()


def test_an_interrupt_before_the_first_step(
    key: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call has its turn and is sent, so the interrupt comes with its key."""
    order_id = sandbox.order()
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)

    def interrupt(_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    async def ship() -> None:
        monkeypatch.setattr(vars(takings)["_asynchronous"].Span, "__enter__", interrupt)
        try:
            await client.capture(order_id, captured_amount=1, idempotency_key=key)
        except KeyboardInterrupt as interrupted:
            unknown = interrupted.__cause__
        else:
            unknown = None
        assert isinstance(unknown, takings.OutcomeUnknown)
        assert unknown.idempotency_key == key
        gc.collect()
        assert (await client.outcome(key)).order_id == order_id
        await client.aclose()

    asyncio.run(ship())
    assert len(sandbox.ledger(order_id)) == 1


def test_an_interrupt_at_the_end_gives_the_turn_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url, max_concurrency=1)
    loop = asyncio.new_event_loop()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vars(takings)["_asynchronous"]._OwnCall, "_wake", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(client.capture(sandbox.order(), captured_amount=1))
    monkeypatch.undo()
    assert len(state_of(client).turns) == 1
    loop.run_until_complete(client.capture(sandbox.order(), captured_amount=1))
    loop.run_until_complete(client.aclose())
    loop.close()


def test_turns_of_a_loop_that_nobody_runs(sandbox: Sandbox) -> None:
    """Another loop gets them."""
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url, max_concurrency=1)
    first, second, third = (sandbox.order(delay(0.3)) for _ in range(3))
    loop = asyncio.new_event_loop()

    async def begin(*orders: str) -> list[asyncio.Task[takings.Capture]]:
        captures = [client.capture(each, captured_amount=1) for each in orders]
        tasks = [asyncio.ensure_future(capture) for capture in captures]
        await requested(sandbox, first)
        return tasks

    tasks = loop.run_until_complete(begin(first, second))
    assert elsewhere(client.capture(third, captured_amount=1)).order_id == third
    assert [len(sandbox.ledger(each)) for each in (first, second, third)] == [1, 1, 1]
    for task in tasks:
        loop.run_until_complete(task)
    loop.close()
    elsewhere(client.aclose())


def test_a_fork_while_a_call_is_under_way(
    key: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The child leaves it to the parent, whatever the child does with what it inherits."""
    order_id, of_child = sandbox.order(delay(0.6)), sandbox.order()
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[takings.Capture]:
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        task = asyncio.ensure_future(capture)
        await requested(sandbox, order_id)
        return task

    holding = [loop.run_until_complete(begin())]
    child = os.fork()
    if child == 0:
        end = 1
        try:
            signal.alarm(20)
            with pytest.raises(takings.InvalidInput):
                asyncio.run(client.outcome(key))
            asyncio.run(client.capture(of_child, captured_amount=1))
            asyncio.run(client.aclose())
            holding.clear()
            gc.collect()
            asynchronous: Any = vars(takings)["_asynchronous"]
            asynchronous._finish()
            assert "takings" not in {record.name for record in caplog.records}
            end = 0
        finally:
            os._exit(end)
    assert os.waitpid(child, 0)[1] == 0
    capture = loop.run_until_complete(holding[0])
    loop.close()
    assert (capture.attempts, len(sandbox.requests(order_id))) == (1, 1)
    assert len(sandbox.ledger(of_child)) == 1
    asyncio.run(client.aclose())


@pytest.mark.parametrize("error", [NotImplementedError, ValueError])
def test_where_a_loop_waits_for_no_socket_a_thread_does(
    error: type[Exception], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows' Proactor."""

    def refuse(*_: object) -> None:
        raise error

    order_id = sandbox.order({"fault": "status", "status": 503})

    async def capture() -> takings.Capture:
        for name in ("add_reader", "remove_reader"):
            monkeypatch.setattr(asyncio.get_running_loop(), name, refuse)
        async with takings.AsyncClient(**USUAL, base_url=sandbox.url) as client:
            return await client.capture(order_id, captured_amount=1)

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(capture()).attempts == 2
    finally:
        monkeypatch.undo()
        loop.close()


def test_where_no_thread_can_be_had_the_end_of_the_loop_waits(
    key: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = sandbox.order(delay(0.5))
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def ship() -> None:
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(capture, 0.2)
        monkeypatch.setattr("_thread.start_new_thread", refuse)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(ship())
    loop.close()
    monkeypatch.undo()
    assert len(sandbox.ledger(order_id)) == 1
    assert elsewhere(client.outcome(key)).idempotency_key == key
    elsewhere(client.aclose())


class Long(http.server.BaseHTTPRequestHandler):
    """An order of many bytes."""

    def do_GET(self) -> None:
        body = json.dumps({"order_id": "order-1", "unknown": "x" * 1_000_000}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_long_answer_is_read_by_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    begin = _thread.start_new_thread

    def counted(work: Any, arguments: Any) -> int:
        begun.append(work)
        return begin(work, arguments)

    async def look(port: int) -> str:
        settings: Any = {**USUAL, "base_url": f"http://127.0.0.1:{port}"}
        async with takings.AsyncClient(**settings) as client:
            with monkeypatch.context() as counting:
                counting.setattr("_thread.start_new_thread", counted)
                return str((await client.get_order("order-1")).order_id)

    with http.server.HTTPServer(("127.0.0.1", 0), Long) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert asyncio.run(look(server.server_port)) == "order-1"
    assert len(begun) == 1


ENDS = """
import asyncio, sys, takings
import logging; logging.basicConfig(format="%(levelname)s %(outcome)s %(idempotency_key)s")

async def ship():
    client = takings.AsyncClient("sandbox", "sandbox", base_url=sys.argv[1])
    waits.append(asyncio.ensure_future(
        client.capture(sys.argv[2], captured_amount=1, idempotency_key=sys.argv[3])))
    await asyncio.sleep(1)
    print("ends", flush=True)

waits = []
if sys.argv[4] == "closed":
    asyncio.run(ship())
else:
    logging.getLogger("asyncio").disabled = True  # it tells of the task that is left
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ship())
"""


@pytest.mark.parametrize("loop", ["closed", "left"])
def test_the_end_of_the_interpreter_waits_for_the_outcome(
    key: str, sandbox: Sandbox, loop: str
) -> None:
    order_id = sandbox.order(delay(3))
    done = subprocess.run(
        [sys.executable, "-I", "-c", ENDS, sandbox.url, order_id, key, loop],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ends\n", f"WARNING captured {key}\n")
    assert len(sandbox.ledger(order_id)) == 1


def test_a_used_client_after_fork(sandbox: Sandbox) -> None:
    client = takings.AsyncClient(**USUAL, base_url=sandbox.url)

    async def ship(order_id: str) -> str:
        return (await client.capture(order_id, captured_amount=1)).idempotency_key

    keys = {asyncio.run(ship(sandbox.order()))}
    for _ in range(3):
        order_id = sandbox.order()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(20)
                os.write(writer, asyncio.run(ship(order_id)).encode())
                asyncio.run(client.aclose())
                gc.collect()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            keys.add(pipe.read())
        assert os.waitpid(child, 0)[1] == 0
        assert len(sandbox.ledger(order_id)) == 1
    keys.add(asyncio.run(ship(sandbox.order())))
    assert len(keys - {""}) == 5
    asyncio.run(client.aclose())


def test_logs_and_spans_know_who_called(
    sandbox: Sandbox, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "takings")
    order_id = sandbox.order({"fault": "status", "status": 503})

    async def ship() -> takings.Capture:
        async with clients() as client:
            made: takings.Capture = await client.capture(order_id, captured_amount=1)
            return made

    capture = asyncio.run(ship())
    told = [(record.levelname, record.__dict__["attempt"]) for record in caplog.records]
    assert told == [("WARNING", 1), ("INFO", 2)]
    assert {record.__dict__["idempotency_key"] for record in caplog.records} == {
        capture.idempotency_key
    }


@pytest.mark.parametrize("wrong", [0, -1, 1001, 1.5, True, None, "8"])
def test_max_concurrency_is_a_number(wrong: Any) -> None:
    with pytest.raises(takings.InvalidInput, match=r"max_concurrency is .*whole number from 1 to"):
        takings.AsyncClient("u", "p", environment="live", max_concurrency=wrong)


def test_it_is_made_as_a_client_is(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(takings.InvalidInput, match="enviroment is not a"):
        takings.AsyncClient("u", "p", enviroment="live")  # type: ignore[call-arg]  # pyright: ignore
    monkeypatch.setenv("KLARNA_USERNAME", "sandbox")
    monkeypatch.setenv("KLARNA_PASSWORD", "s3cret")
    monkeypatch.setenv("KLARNA_BASE_URL", sandbox.url)
    client = takings.AsyncClient.from_env(max_concurrency=2)
    assert repr(client) == f'<takings.AsyncClient base_url="{sandbox.url}/">'
    assert client.base_url == f"{sandbox.url}/"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client)
    asyncio.run(client.aclose())
    asyncio.run(client.aclose())
