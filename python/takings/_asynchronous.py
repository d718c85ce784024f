"""The client for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

# `concurrent.futures` would load this module for the first client, and a process without a free
# file descriptor could not load it
from concurrent.futures.thread import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from . import _transport
from ._exchange import AsyncTransport
from ._log import refused
from ._operations import AsyncOperations, Client
from ._sending import run
from ._takings import Call, invalid_argument
from ._tracing import Span
from .outcomes import Capture, TakingsError
from .steps import Send, Wait

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._settings import Options, Settings

__all__ = ["AsyncClient"]

Running = concurrent.futures.Future[Any]
AsyncExchange = Callable[[Call[Any], Send], Awaitable[Any]]

# A number of threads above this is most likely a slip.
MOST_CONCURRENCY = 1000
# Calls whose wait was cancelled, whose outcomes are kept.
MOST_UNATTENDED = 1000
# The seconds after which a wait looks again whether a call's event loop still runs.
LOOK_AGAIN = 0.1


class _PerProcess:
    """The part of a client that a fork does not copy: threads and event loops."""

    def __init__(self, max_concurrency: int) -> None:
        self.pool = ThreadPoolExecutor(max_concurrency, "takings")
        # the keys of the calls that run
        self.running: dict[Running, str | None] = {}
        # the latest calls whose wait was cancelled, by their keys
        self.unattended: OrderedDict[str, Running] = OrderedDict()


class AsyncClient(AsyncOperations):
    """Captures orders of one merchant account, for asyncio.

    The methods are those of `Client`, to be awaited. Make one and keep it: any number of event
    loops and threads may share it, and so may a process forked from the one that made it.

    Calls run in threads of its own, `max_concurrency` at a time, made as they are needed; others
    wait their turn, and their time-out begins with it. With a `transport` they run on the event
    loop, and its own limits count.

    Cancelling an `await` does not stop a capture that may have been sent: it goes on to its
    outcome. The `CancelledError` then has an `OutcomeUnknown` with the key as its `__cause__`, and
    `outcome` has the outcome. Without that cause nothing was sent.
    """

    _is_beside = False

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        max_concurrency: int = 32,
        transport: AsyncTransport | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        """Check the settings, which are those of `Client`, and make a client.

        - `max_concurrency`: how many calls run at a time, 1 or more.
        - `transport`: an `httpx.AsyncClient` that sends in place of takings' own connections, on
          the event loop it belongs to. It is not closed with the client.
        """
        self._open(partial(Client, username, password, **settings), max_concurrency, transport)

    @classmethod
    def from_env(
        cls,
        *,
        max_concurrency: int = 32,
        transport: AsyncTransport | None = None,
        **settings: Unpack[Settings],
    ) -> Self:
        """Make a client from the environment and these settings, as `Client.from_env` does."""
        made = cls.__new__(cls)
        made._open(partial(Client.from_env, **settings), max_concurrency, transport)
        return made

    def _open(
        self, make: Callable[..., Client], max_concurrency: int, transport: AsyncTransport | None
    ) -> None:
        if not (transport is None or _transport.is_a(transport, "httpx", "AsyncClient")):
            allowed = "an httpx.AsyncClient (takings.Client takes an httpx.Client)"
            raise invalid_argument("transport", _transport.name_of(transport), allowed)
        self._client = make(transport=None if transport is None else _transport.on_loop)
        given: Any = max_concurrency
        if type(given) is not int or not 1 <= given <= MOST_CONCURRENCY:
            got = repr(given) if type(given) in (int, float, bool) else _transport.name_of(given)
            allowed = f"a whole number from 1 to {MOST_CONCURRENCY}"
            raise invalid_argument("max_concurrency", got, allowed)
        self._max_concurrency = max_concurrency
        self._exchange = None if transport is None else partial(_exchange, transport)
        self._per_process: dict[int, _PerProcess] = {}

    @property
    def base_url(self) -> str:
        """Where requests go, without credentials."""
        return self._client.base_url

    def with_options(self, **options: Unpack[Options]) -> Self:
        """The same client with other limits, as `Client.with_options` makes one.

        Both share their threads: close the first one last, since that waits for the calls of both.
        """
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._client, made._is_beside = self._client.with_options(**options), True
        return made

    async def outcome(self, idempotency_key: str) -> Capture:
        """Wait for the outcome of a capture that this client began in this process: one that runs,
        or one of the latest 1000 whose wait was cancelled.

        Raises the `TakingsError` it ended in, and `InvalidInput` for a key of no such capture: then
        capture again, with the same key. One with a `transport` whose event loop is closed, or is
        not run while its time is over, is an `OutcomeUnknown`.
        """
        state = self._of_this_process()
        given: Any = idempotency_key
        if not isinstance(given, str):
            raise invalid_argument("idempotency_key", _transport.name_of(given), "a str")
        # a plain str, so that no code of the program's compares it
        wanted = str.__str__(given)
        by_key = {key: running for running, key in [*state.running.items()] if key is not None}
        running = by_key.get(wanted) or state.unattended.get(wanted)
        if running is None:
            raise invalid_argument(
                "idempotency_key",
                "that of no capture that runs or whose wait was cancelled here",
                "one of those; to be sure of any other capture, call it again with the same key",
            )
        # the capture goes on where this wait is cancelled, too
        await _ended(running)
        return cast(Capture, await asyncio.wrap_future(running))

    async def aclose(self) -> None:
        """Wait for the calls that are under way, then close the connections. Later calls raise
        `InvalidInput`. Leaving an `async with` block does the same."""
        state = self._of_this_process()
        # a call that runs shares the connections until it ends
        self._client.close()
        if self._is_beside:
            return
        try:
            await asyncio.gather(*map(_ended, [*state.running]), return_exceptions=True)
        finally:
            state.pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a client holds credentials and connections."""
        self._client.__reduce__()

    def __repr__(self) -> str:
        return repr(self._client).replace("takings.Client", f"takings.{type(self).__name__}", 1)

    def _of_this_process(self) -> _PerProcess:
        process = os.getpid()
        state = self._per_process.get(process)
        # a lock that is held during a fork would stay locked in the child
        return state or self._per_process.setdefault(process, _PerProcess(self._max_concurrency))

    async def _call(
        self, operation: str, order_id: str, request: Any, key: str | None, fields: dict[str, Any]
    ) -> Any:
        prepare = self._client.prepare_call
        call = prepare(operation, order_id, request, idempotency_key=key, **fields)
        state = self._of_this_process()
        if self._exchange is None:
            running = _in_thread(state.pool, call)
        else:
            running = _on_loop(call, self._exchange)
        key = call.idempotency_key
        state.running[running] = key
        running.add_done_callback(state.running.pop)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError as cancelled:
            # a call whose turn had not come is not sent any more
            if key is not None and not running.cancel():
                state.unattended[key] = running
                while len(state.unattended) > MOST_UNATTENDED:
                    state.unattended.popitem(last=False)
                cancelled.__cause__ = call.abandon()
            raise


class _OnLoopCall(Running):
    """A call that an event loop runs, for as long as the program runs that loop."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__()
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def takes(self, seconds: float) -> None:
        """Notes that the loop has to come back to the call within that time."""
        self._due = time.monotonic() + seconds

    def left(self) -> TakingsError | None:
        """The error for those who wait, where no loop runs the call any more."""
        # a program may run its loop now and then: until then the call may yet go on
        is_late = not self._loop.is_running() and time.monotonic() > self._due
        is_left = (is_late or self._loop.is_closed()) and not self.done()
        return self._call.abandon() if is_left else None


async def _ended(running: Running) -> None:
    """Waits for the end of a call, good or bad; raises where no loop runs the call any more."""
    ended = asyncio.wrap_future(running)
    # asyncio warns of an exception that nobody asked for
    ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    of_loop = running if isinstance(running, _OnLoopCall) else None
    while not running.done():
        if of_loop is not None and (error := of_loop.left()):
            raise error
        await asyncio.wait([ended], timeout=None if of_loop is None else LOOK_AGAIN)


def _in_thread(pool: ThreadPoolExecutor, call: Call[Any]) -> Running:
    """Runs the call in a thread of the pool, when its turn has come."""
    running: Running = concurrent.futures.Future()
    try:
        pool.submit(_transport.for_thread(running, run, call, None))
    except RuntimeError as error:
        # the pool keeps a call that it found no thread for, and would run it some day
        if running.cancel():
            why = f"no thread for it ({_transport.words(error)})"

            async def unsent(call: Call[Any], _send: Send) -> Any:
                return call.not_sent(why)

            return _on_loop(call, unsent)
    return running


async def _run(call: Call[Any], exchange: AsyncExchange, running: _OnLoopCall) -> Any:
    """As `run` does, on an event loop."""
    with Span(call) as span:
        try:
            step = call.start()
            while isinstance(step, Send | Wait):
                if isinstance(step, Send):
                    running.takes(step.timeout)
                    step = await exchange(call, step)
                else:
                    running.takes(step.seconds)
                    await asyncio.sleep(step.seconds)
                    step = call.waited()
        except asyncio.CancelledError:
            # the event loop ends, the program cancels all tasks, or its hook raised this error
            refused(call.abandon(), unattended=True)
            raise
        span.ended(step)
        return step


def _on_loop(call: Call[Any], exchange: AsyncExchange) -> Running:
    """Runs the call as a task of its own.

    A cancelled wait does not end the task, and any loop and thread may wait for it.
    """
    running = _OnLoopCall(call)
    running.set_running_or_notify_cancel()
    task = asyncio.ensure_future(_run(call, exchange, running))

    def pass_on(task: asyncio.Task[Any]) -> None:
        error = call.abandon() if task.cancelled() else task.exception()
        if error is None:
            running.set_result(task.result())
        else:
            running.set_exception(error)

    task.add_done_callback(pass_on)
    return running


async def _exchange(client: Any, call: Call[Any], send: Send) -> Any:
    """Exchanges a request over an `httpx.AsyncClient`."""
    arriving = _transport.Arriving(send)
    attempt = asyncio.ensure_future(_attempt(client, send, arriving))
    try:
        await asyncio.wait([attempt], timeout=send.timeout)
    finally:
        if not attempt.done():
            attempt.cancel()
            # the attempt closes its connection; the call has no use for its end
            attempt.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return arriving.end(call, attempt, _transport.httpx_sent_nothing)


async def _attempt(client: Any, send: Send, arriving: _transport.Arriving) -> None:
    async def trace(event: str, info: Mapping[str, Any]) -> None:
        _transport.httpx_trace(arriving, event, info)

    with _transport.httpx_attempt(client, send, arriving, trace) as sending:
        async with aclosing(await client.send(**sending)) as answer:
            if _transport.httpx_head(answer, arriving):
                async for chunk in answer.aiter_raw():
                    if not arriving.more(chunk):
                        break
