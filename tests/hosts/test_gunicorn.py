"""gunicorn, with its settings in examples/hosts and with others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
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
    # the settings of the example are for gthread; with more than one thread, sync would be it too
    worker = ["--worker-class", "sync", "--threads", "1"] if request.param == "sync" else []
    usual = ["--bind", "127.0.0.1:0", "--no-control-socket", "--worker-tmp-dir", tmp_path]
    with serving(sandbox, tmp_path, "gunicorn", *usual, *worker, *preload) as web:
        yield web


def test_each_parcel_is_captured_once(sandbox: Sandbox, web: Web) -> None:
    each_parcel_is_captured_once(sandbox, web)


def test_a_graceful_stop_ends_what_runs(sandbox: Sandbox, web: Web) -> None:
    # a worker that is told to stop while it starts does not hear it
    until(lambda: web.log.read_text().count("Booting worker") == 2, what="the workers")
    time.sleep(0.5)
    a_graceful_stop_ends_what_runs(sandbox, web)
