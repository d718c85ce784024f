"""The client for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

# `concurrent.futures` would load it when the first client is made, which a process without a free
# file descriptor cannot do
from concurrent.futures.thread import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypedDict, TypeVar, cast, overload

from ._driving import Answer, Unsent, run, words
from ._takings import Client, Operation, invalid_argument
from ._telling import Span, ended
from ._transport import (
    Arriving,
    OnLoop,
    httpx_head,
    httpx_is_plain,
    httpx_refused,
    httpx_request,
    httpx_sent_nothing,
    httpx_trace,
)
from .outcomes import Capture, Reconciliation, TakingsError
from .request import CaptureRequest
from .steps import Send, Wait

if TYPE_CHECKING:
    from os import PathLike
    from typing import Literal

    from typing_extensions import Self, Unpack

__all__ = ["AsyncClient"]

OutcomeT = TypeVar("OutcomeT", Capture, Reconciliation)
Running = concurrent.futures.Future[Any]
AsyncExchange = Callable[[Send], Awaitable[Answer]]

# More threads than this serve nobody: it is most likely a slip.
MOST_CONCURRENCY = 1000
# Captures whose wait was cancelled, whose outcomes are kept.
MOST_ALONE = 1000
# How often a wait looks whether the event loop that drives a call still does: that tells nobody.
LOOK_AGAIN = 0.1


class AsyncTransport(Protocol):
    """An `httpx.AsyncClient`."""

    def send(self, request: Any, /) -> Any: ...
    async def aclose(self) -> None: ...


class Settings(TypedDict, total=False):
    """The settings of a `Client`, which says what they mean."""

    api_key: str | None
    auth: Literal["basic", "raw"] | None
    region: Literal["eu", "na", "oc", "kustom"] | None
    environment: Literal["live", "playground"] | None
    base_url: str | None
    timeout: float | None
    connect_timeout: float | None
    attempt_timeout: float | None
    max_attempts: int | None
    backoff: float | None
    max_backoff: float | None
    proxy: str | None
    ca_file: str | PathLike[str] | None
    user_agent_suffix: str | None
    check_lines: Literal["off", "warn", "refuse"] | None
    accept_unknown_values: bool | None
    reconcile: bool | None


class _Mine:
    """What belongs to one process: a fork copies neither threads nor event loops."""

    def __init__(self, max_concurrency: int) -> None:
        self.pool = ThreadPoolExecutor(max_concurrency, "takings")
        self.running: set[Running] = set()
        # by their keys: those that run, and the latest whose wait was cancelled
        self.captures: dict[str, Running] = {}
        self.alone: OrderedDict[str, Running] = OrderedDict()


class AsyncClient:
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
        on_loop = None if transport is None else OnLoop(transport)
        self._open(
            Client(username, password, transport=on_loop, **settings), max_concurrency, on_loop
        )

    @classmethod
    def from_env(
        cls, *, max_concurrency: int = 32, transport: AsyncTransport | None = None
    ) -> Self:
        """Make a client from the environment, as `Client.from_env` does."""
        made = cls.__new__(cls)
        on_loop = None if transport is None else OnLoop(transport)
        made._open(Client.from_env(transport=on_loop), max_concurrency, on_loop)
        return made

    def _open(self, client: Client, max_concurrency: int, transport: OnLoop | None) -> None:
        given: Any = max_concurrency
        if type(given) is not int or not 1 <= given <= MOST_CONCURRENCY:
            got = repr(given) if isinstance(given, (int, float)) else type(given).__name__
            allowed = f"a whole number from 1 to {MOST_CONCURRENCY}"
            raise invalid_argument("max_concurrency", got, allowed)
        self._client = client
        self._max_concurrency = max_concurrency
        self._exchange = None if transport is None else partial(_exchange, transport.client)
        self._mine: dict[int, _Mine] = {}

    @property
    def base_url(self) -> str:
        """Where requests go, without credentials."""
        return self._client.base_url

    @overload
    async def capture(
        self, order_id: str, request: CaptureRequest, /, *, idempotency_key: str | None = None
    ) -> Capture: ...
    @overload
    async def capture(
        self,
        order_id: str,
        request: None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[CaptureRequest],
    ) -> Capture: ...
    async def capture(
        self,
        order_id: str,
        request: Any = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Capture:
        """Capture the order, in full or in part, and wait for the outcome, as `Client.capture`
        does."""
        return await self._call(
            self._client.prepare(order_id, request, idempotency_key=idempotency_key, **fields)
        )

    async def reconcile(
        self, order_id: str, /, *, reference: str, captured_amount: int
    ) -> Reconciliation:
        """Look into the order's captures, as `Client.reconcile` does."""
        return await self._call(
            self._client.prepare_reconcile(
                order_id, reference=reference, captured_amount=captured_amount
            )
        )

    async def outcome(self, idempotency_key: str) -> Capture:
        """Wait for the outcome of a capture that this client began in this process: one that runs,
        or one of the latest 1000 whose wait was cancelled.

        Raises the `TakingsError` it ended in, and `InvalidInput` for a key of no such capture: then
        capture again, with the same key. One with a `transport` whose event loop is closed, or is
        not run while its time is over, is an `OutcomeUnknown`.
        """
        mine = self._ours()
        running = mine.captures.get(idempotency_key) or mine.alone.get(idempotency_key)
        if running is None:
            raise invalid_argument(
                "idempotency_key",
                "that of no capture that runs or whose wait was cancelled here",
                "one of those; to be sure of any other capture, call it again with the same key",
            )
        # cancelling this wait, too, leaves the capture running
        await _ended(running)
        return cast(Capture, await asyncio.wrap_future(running))

    async def aclose(self) -> None:
        """Wait for the calls that are under way, then close the connections. Later calls raise
        `InvalidInput`. Leaving an `async with` block does the same."""
        mine = self._ours()
        # what runs has a share of the connections until it ends
        self._client.close()
        try:
            await asyncio.gather(*map(_ended, mine.running), return_exceptions=True)
        finally:
            mine.pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a client holds credentials and connections."""
        self._client.__reduce__()

    def __repr__(self) -> str:
        return repr(self._client).replace("takings.Client", f"takings.{type(self).__name__}", 1)

    def _ours(self) -> _Mine:
        process = os.getpid()
        mine = self._mine.get(process)
        # no lock: one that is held during a fork would stay locked in the child
        return mine or self._mine.setdefault(process, _Mine(self._max_concurrency))

    async def _call(self, operation: Operation[OutcomeT]) -> OutcomeT:
        mine = self._ours()
        if self._exchange is None:
            running = _in_thread(mine.pool, operation)
        else:
            running = _on_loop(operation, self._exchange)
        key = operation.idempotency_key
        mine.running.add(running)
        if key is not None:
            mine.captures[key] = running
        running.add_done_callback(partial(_forget, mine, key))
        try:
            return cast(OutcomeT, await asyncio.wrap_future(running))
        except asyncio.CancelledError as cancelled:
            # one whose turn had not come is not sent any more
            if key is not None and not running.cancel():
                mine.alone[key] = running
                while len(mine.alone) > MOST_ALONE:
                    mine.alone.popitem(last=False)
                cancelled.__cause__ = operation.abandon()
            raise


def _forget(mine: _Mine, key: str | None, running: Running) -> None:
    mine.running.discard(running)
    if key is not None and mine.captures.get(key) is running:
        del mine.captures[key]


class _Driven(Running):
    """A call that an event loop drives, for as long as somebody runs that loop."""

    def __init__(self, operation: Operation[Any]) -> None:
        super().__init__()
        # until its end
        self.operation: Operation[Any] | None = operation
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def takes(self, seconds: float) -> None:
        """The loop has to come back to it within that time."""
        self._due = time.monotonic() + seconds

    def left(self) -> TakingsError | None:
        """What is known of it, where nobody drives it any more."""
        operation = self.operation
        # a program may run its loop now and then: until then it may yet go on
        is_late = not self._loop.is_running() and time.monotonic() > self._due
        if operation is None or not (is_late or self._loop.is_closed()):
            return None
        return operation.abandon()


async def _ended(running: Running) -> None:
    """Waits for the end of a call, whatever it is; raises where nobody drives it any more."""
    ended = asyncio.wrap_future(running)
    # it is told to whoever asks for it
    ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    driven = running if isinstance(running, _Driven) else None
    while not running.done():
        if driven is not None and (error := driven.left()):
            raise error
        await asyncio.wait([ended], timeout=None if driven is None else LOOK_AGAIN)


def _in_thread(pool: ThreadPoolExecutor, operation: Operation[Any]) -> Running:
    """Runs it in a thread of the pool, when its turn has come."""
    running: Running = concurrent.futures.Future()
    context = contextvars.copy_context()

    def work() -> None:
        if not running.set_running_or_notify_cancel():
            return
        try:
            outcome = context.run(run, operation, None)
        except BaseException as error:
            running.set_exception(error)
        else:
            running.set_result(outcome)

    try:
        pool.submit(work)
    except RuntimeError as error:
        # The pool keeps what it found no thread for, and would run it some day.
        if running.cancel():
            return _on_loop(operation, partial(_unsent, f"no thread for it ({words(error)})"))
    return running


async def _unsent(why: str, _send: Send) -> NoReturn:
    raise Unsent(why)


async def _run(
    operation: Operation[OutcomeT], exchange: AsyncExchange, running: _Driven
) -> OutcomeT:
    """As `run` does, on an event loop."""
    with Span(operation) as span:
        try:
            outcome = await _drive(operation, exchange, running)
        except asyncio.CancelledError:
            # at the end of the event loop; a program that cancels all tasks, or whose hook raises
            # this within a request, ends it in the same way
            error = operation.abandon()
            ended(error.order_id, error.idempotency_key, error, alone=True)
            raise
        span.ended(outcome)
        return outcome


async def _drive(
    operation: Operation[OutcomeT], exchange: AsyncExchange, running: _Driven
) -> OutcomeT:
    step = operation.start()
    while True:
        if isinstance(step, Send):
            running.takes(step.timeout)
            try:
                answer = await exchange(step)
            except Unsent as why:
                step = operation.not_sent(words(why))
            except Exception as why:
                step = operation.maybe_sent(words(why))
            else:
                step = operation.answered(*answer)
        elif isinstance(step, Wait):
            running.takes(step.seconds)
            await asyncio.sleep(step.seconds)
            step = operation.waited()
        else:
            return step


def _on_loop(operation: Operation[Any], exchange: AsyncExchange) -> Running:
    """Runs it as a task of its own, which a cancelled wait does not end, and which any loop and
    thread may wait for."""
    running = _Driven(operation)
    running.set_running_or_notify_cancel()
    task = asyncio.ensure_future(_run(operation, exchange, running))

    def tell(task: asyncio.Task[Any]) -> None:
        error = operation.abandon() if task.cancelled() else task.exception()
        running.operation = None
        if error is None:
            running.set_result(task.result())
        else:
            running.set_exception(error)

    task.add_done_callback(tell)
    return running


async def _exchange(client: Any, send: Send) -> Answer:
    """One request over an `httpx.AsyncClient`."""
    arriving = Arriving(send)
    attempt = asyncio.ensure_future(_attempt(client, send, arriving))
    try:
        await asyncio.wait([attempt], timeout=send.timeout)
    finally:
        done = attempt.done()
        if not done:
            attempt.cancel()
            # it closes its connection; what it says at its end is told to nobody
            attempt.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return arriving.end(done, attempt.exception() if done else None, httpx_sent_nothing)


async def _attempt(client: Any, send: Send, arriving: Arriving) -> None:
    if client.is_closed:
        raise Unsent("the httpx.AsyncClient is closed")

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        httpx_trace(arriving, event, info)

    arriving.request = httpx_request(send, trace)
    arriving.followed = httpx_is_plain(client, arriving.request.url)
    try:
        answer = await client.send(arriving.request, auth=None, follow_redirects=False, stream=True)
    except Exception as error:
        httpx_refused(error, arriving)
        raise
    try:
        httpx_head(answer, arriving)
        # a hook may have read it
        if answer.is_stream_consumed:
            arriving.more(answer.content)
        else:
            async for chunk in answer.aiter_raw():
                if not arriving.more(chunk):
                    break
    finally:
        await answer.aclose()
