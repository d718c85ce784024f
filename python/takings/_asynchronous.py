"""The client for asyncio."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from . import _transport
from ._exchange import AsyncTransport
from ._log import refused
from ._operations import AsyncOperations, Client
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

# A number of calls at a time above this is most likely a slip.
MOST_CONCURRENCY = 1000
# Calls whose wait was cancelled, whose outcomes are kept.
MOST_UNATTENDED = 1000
# The seconds after which a wait looks again whether a call's event loop still runs.
LOOK_AGAIN = 0.1


class _PerProcess:
    """The part of a client that a fork does not copy: what event loops and threads go on with.

    There is no lock: the end of a loop that the garbage collector finds may strike anywhere. Each
    operation on a `deque` or a `dict` is atomic instead.
    """

    def __init__(self, max_concurrency: int) -> None:
        self.process = os.getpid()
        # the free turns, and the calls that wait for one
        self.turns = deque([None] * max_concurrency)
        self.waiting: deque[_OwnCall] = deque()
        # the keys of the calls that run
        self.running: dict[_OwnCall | _OnLoopCall, str | None] = {}
        # the latest calls whose wait was cancelled, by their keys
        self.unattended: OrderedDict[str, _OwnCall | _OnLoopCall] = OrderedDict()
        # the loops that look after turns
        self._looking: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        _states.add(self)

    def leave(self, running: _OwnCall | _OnLoopCall, key: str) -> None:
        """Keeps the outcome of a call that nobody waits for any more."""
        self.unattended[key] = running
        while len(self.unattended) > MOST_UNATTENDED:
            self.unattended.popitem(last=False)

    def look_after(self, loop: asyncio.AbstractEventLoop, again: bool = False) -> None:
        """While calls wait, has threads go on with those whose loops do not run: they have turns
        that would not come back."""
        if again or loop not in self._looking:
            if self.waiting:
                self._looking.add(loop)
                for running in [*self.running]:
                    running.left()
                loop.call_later(LOOK_AGAIN, self.look_after, loop, True)
            else:
                self._looking.discard(loop)

    def deal(self) -> None:
        """Gives free turns to those that have waited longest."""
        while self.waiting:
            try:
                self.turns.pop()
            except IndexError:
                return
            try:
                call = self.waiting.popleft()
            except IndexError:
                call = None
            if call is None or not call.begin():
                self.turns.append(None)


_states: weakref.WeakSet[_PerProcess] = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    """Waits for the calls that are under way at the end of the interpreter."""
    for state in [*_states]:
        if state.process == os.getpid():
            for running in [*state.running]:
                if isinstance(running, _OwnCall):
                    running.finish_or_wait()


class AsyncClient(AsyncOperations):
    """Captures orders of one merchant account, for asyncio.

    The methods are those of `Client`, to be awaited. Make one and keep it: any number of event
    loops and threads may share it, and so may a process forked from the one that made it.

    Calls run `max_concurrency` at a time; others wait their turn, and their time-out begins with
    it. The event loop waits for the answers, or a thread on loops that cannot (Windows' Proactor).
    With a `transport` its own limits count.

    Calls go on while their loop runs. A thread goes on with those of a loop that was closed, and
    of one that is not run when `outcome` or `aclose` asks elsewhere, or the interpreter ends.

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

        Both share their turns: close the first one last, since that waits for the calls of both.
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
        return cast(Capture, (await _ended(running)).result())

    async def aclose(self) -> None:
        """Wait for the calls that are under way, then close the connections. Later calls raise
        `InvalidInput`. Leaving an `async with` block does the same."""
        state = self._of_this_process()
        # a call that runs shares the connections until it ends
        self._client.close()
        if self._is_beside:
            return
        await asyncio.gather(*map(_ended, [*state.running]), return_exceptions=True)

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
        key = call.idempotency_key
        running: _OwnCall | _OnLoopCall
        if self._exchange is None:
            running = own = _OwnCall(call, state)
            state.running[running] = key
            own.queue()
            ended = own.waiter
        else:
            running = on_loop = _on_loop(call, self._exchange)
            state.running[running] = key
            on_loop.add_done_callback(lambda _: state.running.pop(on_loop, None))
            ended = asyncio.wrap_future(on_loop)
        try:
            return await ended
        except asyncio.CancelledError as cancelled:
            # a call whose turn had not come is not sent any more
            if not running.cancel() and key is not None:
                state.leave(running, key)
                cancelled.__cause__ = call.abandon()
            raise


class _OwnCall:
    """A call over takings' own connections. Its event loop waits for it, or a thread where no loop
    does."""

    __slots__ = (
        "_askers",
        "_context",
        "_end",
        "_span",
        "_turn",
        "call",
        "is_apart",
        "loop",
        "state",
        "waiter",
        "watch",
    )

    def __init__(self, call: Call[Any], state: _PerProcess) -> None:
        self.call = call
        self.state = state
        self.loop = asyncio.get_running_loop()
        # the end for the caller; other loops and threads ask for theirs
        self.waiter: asyncio.Future[Any] = self.loop.create_future()
        self.is_apart = False
        # taken by the call's turn, or by its cancellation
        self._turn = [self.waiter]
        self._end: tuple[Any, BaseException | None] | None = None
        self._askers: list[Running] = []
        self._context = contextvars.copy_context()
        self._span: Span | None = None
        # the watch that waits for sockets
        self.watch: Any = None

    def queue(self) -> None:
        """Begins the call when its turn has come: now, if there is one."""
        state = self.state
        if not state.waiting:
            try:
                state.turns.pop()
            except IndexError:
                pass
            else:
                self._turn.pop()
                try:
                    _Watch(self)()
                except BaseException as error:
                    # the end of the watch has a thread go on
                    error.__cause__ = error.__cause__ or self.call.abandon()
                    raise
                return
        state.waiting.append(self)
        state.deal()
        state.look_after(self.loop)

    def cancel(self) -> bool:
        """Whether the call will not be sent: its turn had not come."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        self.state.running.pop(self, None)
        self._pass_on((None, asyncio.CancelledError()))
        return True

    def begin(self) -> bool:
        """Begins the call, whose turn has come, from any thread; false if it was cancelled."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        watch = _Watch(self)
        try:
            if asyncio._get_running_loop() is self.loop:
                self.loop.call_soon(watch, context=self._context)
            elif self.loop.is_running():
                self.loop.call_soon_threadsafe(watch, context=self._context)
            elif self.loop.is_closed():
                self.let_go()
            else:
                self.apart()
        except RuntimeError:
            # the loop was closed meanwhile, and the end of the watch has a thread go on
            pass
        return True

    @property
    def is_running(self) -> bool:
        return self._end is None and not self._turn

    def apart(self) -> None:
        """Lets a thread go on."""
        self.is_apart = True
        try:
            _thread.start_new_thread(self.finish, ())
        except RuntimeError:
            # where no thread can be had, this one waits
            self.finish()

    def finish(self) -> None:
        """Goes on to the outcome in this thread, unless another thread or the loop is about it."""
        self._context.copy().run(self.go_on, True)

    def finish_or_wait(self) -> None:
        """The same, at the end of the interpreter."""
        ending = self.ending()
        if not self.is_apart:
            self.is_apart = True
            self._turn.clear()
            self.call.abandon()
            self.finish()
        concurrent.futures.wait([ending])

    def left(self) -> None:
        """Lets a thread go on if the loop does not run."""
        if self.is_running and not self.is_apart and not self.loop.is_running():
            if self.watch is not None:
                # the thread may close a socket, whose number the loop must have forgotten before
                # it waits again
                with suppress(RuntimeError):
                    self.loop.call_soon_threadsafe(_late, self.watch)
            self.apart()

    def let_go(self) -> None:
        """Lets a thread go on where no task hears of the outcome."""
        self.call.abandon()
        if (key := self.call.idempotency_key) is not None:
            self.state.leave(self, key)
        self.apart()

    def ending(self) -> Running:
        """A future of the end for any loop and thread."""
        asker: Running = concurrent.futures.Future()
        self._askers.append(asker)
        if self._end is not None:
            self._pass_on(self._end)
        return asker

    def go_on(self, blocks: bool) -> tuple[Any, ...] | None:
        """Goes on as far as can be; gives what the call waits for, or None if it has no need."""
        span = self._span
        if span is None:
            span = self._span = Span(self.call, is_current=False).__enter__()
        step: Any = None
        failed: BaseException | None = None
        try:
            step = self.call._go_on(blocks)
            if step is None or _is_wish(step):
                return cast("tuple[Any, ...] | None", step)
            span.ended(step)
            span.__exit__(None, None, None)
        except BaseException as error:
            if _is_wish(step) or self._was_interrupted(error):
                error.__cause__ = error.__cause__ or self.call.abandon()
                self.let_go()
                raise
            failed = error
            if not isinstance(error, Exception) and error.__cause__ is None:
                error.__cause__ = self.call.abandon()
            span.__exit__(type(error), error, None)
        try:
            self._pass_on((step, failed))
            self.state.running.pop(self, None)
            if blocks:
                # nobody waits in a loop that was closed
                with suppress(RuntimeError):
                    self.loop.call_soon_threadsafe(self._wake)
            else:
                self._wake()
        finally:
            # an interrupt that strikes meanwhile must not keep the turn
            self.state.turns.append(None)
            self.state.deal()
        if failed is not None and not isinstance(failed, Exception) and not blocks:
            raise failed
        return None

    def _was_interrupted(self, error: BaseException) -> bool:
        """Whether a signal's handler raised the error after a step, whose result is lost by it.

        An error that came out of the step has a cause.
        """
        call = self.call
        is_bare = not isinstance(error, Exception) and error.__cause__ is None
        return is_bare and call.idempotency_key is not None and call.outcome is None

    def _pass_on(self, end: tuple[Any, BaseException | None]) -> None:
        self._end = end
        reply, error = end
        while self._askers:
            try:
                asker = self._askers.pop()
            except IndexError:
                return
            if error is None:
                asker.set_result(reply)
            else:
                asker.set_exception(error)

    def _wake(self) -> None:
        if self._end is None or self.waiter.done():
            return
        reply, error = self._end
        if error is None:
            self.waiter.set_result(reply)
        else:
            self.waiter.set_exception(error)


def _is_wish(step: object) -> bool:
    return type(step) is tuple


class _Watch:
    """The callback of an event loop that goes on with a call.

    Only the loop holds it, while it waits. So its end before that of the call is the end of the
    loop, and a thread goes on.
    """

    __slots__ = ("__weakref__", "_call", "_timer", "_waits")

    def __init__(self, call: _OwnCall) -> None:
        self._call = call
        self._waits: tuple[Any, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        call, loop = self._call, self._call.loop
        # a step may close a socket, and open another of the same number
        self._forget(loop)
        step = call.go_on(False)
        if step is None:
            return
        if not step or call.is_apart:
            call.apart()
            return
        seconds, reads, writes = step
        if not reads:
            loop.call_later(seconds, self)
            return
        try:
            self._waits = step
            for descriptor in reads:
                loop.add_reader(descriptor, self)
            for descriptor in writes:
                loop.add_writer(descriptor, self)
            # the loop's timers would outlive the watch
            late: Any = weakref.ref(self)
            call.watch = late
            self._timer = loop.call_later(seconds, _late, late)
        except Exception:
            # a loop that knows no sockets may raise anything, also when it shall forget them
            with suppress(Exception):
                self._forget(loop)
            call.apart()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waits:
            _, reads, writes = self._waits
            for descriptor in reads:
                loop.remove_reader(descriptor)
            for descriptor in writes:
                loop.remove_writer(descriptor)
            # last, since an interrupt may come before
            self._waits = ()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __del__(self) -> None:
        call = self._call
        # in a forked child the call is the parent's
        if call.is_running and not call.is_apart and call.state.process == os.getpid():
            call.let_go()


def _late(watch: weakref.ref[_Watch]) -> None:
    late = watch()
    if late is not None:
        late()


class _OnLoopCall(Running):
    """A call that an event loop runs, for as long as the program runs that loop."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__()
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def ending(self) -> Running:
        return self

    def takes(self, seconds: float) -> None:
        """Notes that the loop has to come back to the call within that time."""
        self._due = time.monotonic() + seconds

    def left(self) -> TakingsError | None:
        """The error for those who wait, where no loop runs the call any more."""
        # a program may run its loop now and then: until then the call may yet go on
        is_late = not self._loop.is_running() and time.monotonic() > self._due
        is_left = (is_late or self._loop.is_closed()) and not self.done()
        return self._call.abandon() if is_left else None


async def _ended(running: _OwnCall | _OnLoopCall) -> Running:
    """Waits for the end of a call, good or bad; raises where nothing goes on with it any more."""
    ending = running.ending()
    ended = asyncio.wrap_future(ending)
    # asyncio warns of an exception that nobody asked for
    ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    while not ending.done():
        if error := running.left():
            raise error
        await asyncio.wait([ended], timeout=LOOK_AGAIN)
    return ending


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


def _on_loop(call: Call[Any], exchange: AsyncExchange) -> _OnLoopCall:
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
