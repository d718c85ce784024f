"""Sending a call: over our own connections, or step by step over the program's HTTP client."""

from __future__ import annotations

import time

from ._takings import Call
from ._tracing import Span
from .steps import Send, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
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
