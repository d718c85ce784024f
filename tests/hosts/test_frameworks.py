"""The shops in Flask and Django of examples/hosts, under gunicorn with the settings of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from parcels import HOSTS, Web, each_parcel_is_captured_once, serving
from support import Sandbox

SHOPS = {"/flask": "app:app", "/django": "project:application"}


@pytest.fixture(params=SHOPS)
def web(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[Web]:
    usual = ["--bind", "127.0.0.1:0", "--no-control-socket", "--worker-tmp-dir", tmp_path]
    folder = f"{HOSTS}{request.param}"
    with serving(
        sandbox, tmp_path, "gunicorn", *usual, "--chdir", folder, SHOPS[request.param]
    ) as web:
        yield web


def test_each_parcel_is_captured_once(sandbox: Sandbox, web: Web) -> None:
    each_parcel_is_captured_once(sandbox, web)


def test_an_amount_that_is_none(sandbox: Sandbox, web: Web) -> None:
    status, told = web.ship(sandbox.order(), amount="60,00")
    assert (status, "amount" in told["detail"]) == (400, True), told
