"""uvicorn with FastAPI, over asyncio's own event loop and over uvloop."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parcels import (
    Web,
    a_graceful_stop_ends_what_runs,
    each_parcel_is_captured_once,
    serving,
    slow,
)
from support import Sandbox


@pytest.fixture(params=["asyncio", "uvloop"])
def web(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[Web]:
    # The access log would fill a pipe that nobody reads.
    arguments = ["shop:app", "--port", "0", "--loop", str(request.param), "--no-access-log"]
    with serving(sandbox, tmp_path, "uvicorn", *arguments) as web:
        yield web


def test_each_parcel_is_captured_once(sandbox: Sandbox, web: Web) -> None:
    each_parcel_is_captured_once(sandbox, web)


def test_others_are_served_while_captures_wait(sandbox: Sandbox, web: Web) -> None:
    orders = [sandbox.order(slow(1)) for _ in range(10)]
    assert web.ask("GET", "/health")[0] == 200
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        began = time.monotonic()
        shipping = [pool.submit(web.ship, order_id) for order_id in orders]
        took: list[float] = []
        while not all(answer.done() for answer in shipping):
            asked = time.monotonic()
            assert web.ask("GET", "/health") == (200, "fine")
            took.append(time.monotonic() - asked)
            time.sleep(0.02)
        # The captures run side by side, and other requests are served meanwhile.
        assert time.monotonic() - began < 5
        assert sorted(took)[len(took) // 2] < 0.1
        assert {answer.result()[0] for answer in shipping} == {200}


def test_a_graceful_stop_ends_what_runs(sandbox: Sandbox, web: Web) -> None:
    a_graceful_stop_ends_what_runs(sandbox, web)
