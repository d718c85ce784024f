"""Tests that the web servers and the queue for Python share: parcels that ship."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import Program, Sandbox, until

LOST = {"fault": "lost_answer"}
HOSTS = Path(__file__).resolve().parent.parent.parent / "examples" / "hosts"


def slow(seconds: float) -> dict[str, Any]:
    return {"fault": "delay", "seconds": seconds, "when": "before_commit"}


def account(sandbox: Sandbox) -> dict[str, str]:
    return {
        "KLARNA_BASE_URL": sandbox.url,
        "KLARNA_USERNAME": "sandbox",
        "KLARNA_PASSWORD": "sandbox",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Web:
    def __init__(self, port: int, program: Program, log: Path) -> None:
        self.port = port
        self.program = program
        self.log = log

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            head = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), head)
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        finally:
            connection.close()

    def ship(self, order_id: str, name: str = "parcel-1", amount: str = "60.00") -> tuple[int, Any]:
        where = f"/orders/{order_id}/parcels/{name}"
        return self.ask("POST", where, {"amount": amount, "currency": "EUR"})


@contextmanager
def serving(sandbox: Sandbox, folder: Path, host: str, *arguments: str | Path) -> Iterator[Web]:
    """A web server on a free port of its own choice, which stands in its log."""
    log = folder / "log"
    with (
        log.open("w") as stderr,
        Program(
            *(sys.executable, "-m", host, *arguments),
            environment={**account(sandbox), "HOME": str(folder)},
            server=True,
            stderr=stderr,
            cwd=HOSTS / host,
        ) as program,
    ):
        told = until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()), 30, "a port")
        yield Web(int(told[1]), program, log)


def each_parcel_is_captured_once(sandbox: Sandbox, web: Web) -> None:
    """Each parcel is captured once, although answers are lost and the shop is asked again."""
    fine, lost = sandbox.order(), sandbox.order(LOST)
    unknown, poor = sandbox.order(LOST, LOST, LOST), sandbox.order(order_amount=5)
    for order_id in (fine, lost):
        first, again = web.ship(order_id), web.ship(order_id)
        assert first[0] == 200, first
        assert first == again
        [entry] = sandbox.ledger(order_id)
        assert first[1] == {"capture_id": entry["capture_id"]}
        assert (entry["captured_amount"], entry["reference"]) == (6000, "parcel-1")

    status, told = web.ship(unknown)
    assert status == 503, told
    assert "may have been captured" in told["detail"]
    status, told = web.ship(unknown)
    [entry] = sandbox.ledger(unknown)
    assert (status, told) == (200, {"capture_id": entry["capture_id"]})

    status, told = web.ship(poor)
    assert (status, "CAPTURE_NOT_ALLOWED" in told["detail"]) == (409, True), told
    assert sandbox.ledger(poor) == []
    status, told = web.ship(fine, amount="60.001")
    assert (status, "amount is" in told["detail"]) == (400, True), told


def a_graceful_stop_ends_what_runs(sandbox: Sandbox, web: Web) -> None:
    orders = [sandbox.order(slow(1)) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(web.ship, order_id) for order_id in orders]
        for order_id in orders:
            until(lambda: sandbox.requests(order_id), what="the request")  # noqa: B023
        web.program.process.terminate()
        for order_id, answer in zip(orders, answers, strict=True):
            [entry] = until(lambda: sandbox.ledger(order_id))  # noqa: B023
            assert answer.result() == (200, {"capture_id": entry["capture_id"]})
    web.program.process.wait(timeout=120)
