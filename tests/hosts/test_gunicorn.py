"""gunicorn, with its settings in examples/hosts and with others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import takings
from parcels import (
    Web,
    a_graceful_stop_ends_what_runs,
    each_parcel_is_captured_once,
    serving,
)
from support import Sandbox, until


@pytest.fixture(params=["", "--preload"])
def preload(request: pytest.FixtureRequest) -> list[str]:
    return [request.param] if request.param else []


@pytest.fixture(params=["sync", "gthread"])
def web(
    request: pytest.FixtureRequest, preload: list[str], sandbox: Sandbox, tmp_path: Path
) -> Iterator[Web]:
    # The example's settings are for gthread. With more than one thread sync becomes gthread too.
    worker = ["--worker-class", "sync", "--threads", "1"] if request.param == "sync" else []
    usual = ["--bind", "127.0.0.1:0", "--no-control-socket", "--worker-tmp-dir", tmp_path]
    with serving(sandbox, tmp_path, "gunicorn", *usual, *worker, *preload) as web:
        yield web


def test_each_parcel_is_captured_once(sandbox: Sandbox, web: Web) -> None:
    each_parcel_is_captured_once(sandbox, web)


def test_a_name_is_read_as_it_was_meant(sandbox: Sandbox, web: Web) -> None:
    """Read in another encoding the name would be another one, and capture a second time."""
    order_id = sandbox.order()
    status, _ = web.ship(order_id, "p%C3%A4ck")
    [entry] = sandbox.ledger(order_id)
    key = takings.idempotency_key(order_id, "päck")
    assert (status, entry["reference"], entry["idempotency_key"]) == (200, "päck", key)


def test_what_is_no_parcel(sandbox: Sandbox, web: Web) -> None:
    for body in (None, [], {"amount": "1.00"}, "1.00"):
        status, told = web.ask("POST", f"/orders/{sandbox.order()}/parcels/p", body)
        assert (status, "amount" in told["detail"]) == (400, True), told


def test_a_graceful_stop_ends_what_runs(sandbox: Sandbox, web: Web) -> None:
    # A worker misses a signal to stop that comes while it starts.
    until(lambda: web.log.read_text().count("Booting worker") == 2, what="the workers")
    time.sleep(0.5)
    a_graceful_stop_ends_what_runs(sandbox, web)
