"""Sending a call: over our own connections, or step by step over the program's HTTP client."""

from __future__ import annotations

import time

from ._takings import Call
from ._tracing import Span
from .steps import Send, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ._transport import Exchange
    from .outcomes import Reply

    _ReplyT = TypeVar("_ReplyT", bound=Reply)

__all__ = ["run"]


def run(call: Call[_ReplyT], exchange: Exchange | None) -> _ReplyT:
    """Send a call and wait for its outcome."""
    with Span(call) as span:
        reply = call.send() if exchange is None else _step(call, exchange)
        span.ended(reply)
        return reply


def _step(call: Call[_ReplyT], exchange: Exchange) -> _ReplyT:
    step: Send | Wait | _ReplyT = call.start()
    while True:
        if isinstance(step, Send):
            step = exchange(call, step)
        elif isinstance(step, Wait):
            time.sleep(step.seconds)
            step = call.waited()
        else:
            return step
