"""Sending a call: over our own connections, or step by step over the program's HTTP client."""

from __future__ import annotations

import sys
import time

from ._takings import Call
from ._tracing import Span
from .steps import Send, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._transport import Exchange


def run(call: Call[Any], exchange: Exchange | None) -> Any:
    """Send a call and wait for its outcome."""
    with Span(call) as span:
        reply = call.send() if exchange is None else _step(call, exchange)
        span.ended(reply)
        return reply


def _step(call: Call[Any], exchange: Exchange) -> Any:
    step = call.start()
    while isinstance(step, Send | Wait):
        if isinstance(step, Send):
            step = exchange(call, step)
        else:
            time.sleep(step.seconds)
            step = call.waited()
    return step


def hub() -> Callable[[int], object] | None:
    """The wait for a file descriptor that lets other greenlets run: in a process that gevent or
    eventlet has patched. None in the hub itself, which cannot wait for anything."""
    loaded: Any = sys.modules
    gevent, eventlet = loaded.get("gevent.monkey"), loaded.get("eventlet.patcher")
    if gevent and gevent.is_module_patched("socket"):
        of, wait = loaded["gevent"], loaded["gevent.socket"].wait_read
        return None if of.getcurrent() is of.get_hub() else wait
    if eventlet and eventlet.is_monkey_patched("socket"):
        hubs = loaded["eventlet.hubs"]
        in_hub = loaded["greenlet"].getcurrent() is hubs.get_hub().greenlet
        return None if in_hub else lambda readable: hubs.trampoline(readable, read=True)
    return None
