"""A C program whose event loop is libcurl's, built with what pkg-config says."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

import pytest
from batch import LOST, captures_each_once, needs_an_account, night, tells_a_refusal
from support import ROOT, Sandbox, run

FOLDER = ROOT / "examples/hosts/libcurl"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def capture(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The program, built with sanitizers, and the environment it needs."""
    program = tmp_path_factory.mktemp("libcurl") / "capture_multi"
    folder = str(prefix / "lib/pkgconfig")
    found = run("pkg-config", "--cflags", "--libs", "takings", "libcurl", PKG_CONFIG_PATH=folder)
    compiler = shlex.split(os.environ.get("CC") or "cc")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", *SANITIZERS]
    sources = [FOLDER / "capture_multi.c", FOLDER / "sender.c"]
    run(*compiler, *strict, *sources, "-o", program, *shlex.split(found))
    return program, {"LD_LIBRARY_PATH": str(prefix / "lib"), "ASAN_OPTIONS": "detect_leaks=1"}


def test_each_line_is_captured_once(sandbox: Sandbox, capture: tuple[Path, dict[str, str]]) -> None:
    program, environment = capture
    captures_each_once(sandbox, program, "4", **environment)
    tells_a_refusal(sandbox, program, "2", **environment)
    needs_an_account(sandbox, program, "1", **environment)


def test_they_are_on_their_way_at_once(
    sandbox: Sandbox, capture: tuple[Path, dict[str, str]]
) -> None:
    """The captures would take more than 20 s one after the other."""
    program, environment = capture
    slow = {"fault": "delay", "seconds": 0.5}
    orders = [
        sandbox.order(LOST, slow) if number % 3 == 0 else sandbox.order(slow)
        for number in range(40)
    ]
    lines = "".join(f"{order} {number + 1} parcel\n" for number, order in enumerate(orders))
    began = time.monotonic()
    status, printed = night(sandbox, program, "40", lines=lines, **environment)
    took = time.monotonic() - began
    assert status == 0, printed
    assert took < 10, took
    assert len(printed) == len(orders)
    for number, order in enumerate(orders):
        [capture_made] = sandbox.ledger(order)
        assert capture_made["captured_amount"] == number + 1
        assert f"{order} parcel captured {capture_made['capture_id']}" in printed
        assert len(sandbox.requests(order)) == (2 if number % 3 == 0 else 1)


def test_nobody_there_is_not_sent(capture: tuple[Path, dict[str, str]]) -> None:
    program, environment = capture
    with Sandbox() as gone:
        pass
    status, [line] = night(gone, program, "1", lines="order 6000 parcel-1\n", **environment)
    assert status == 75
    assert line.startswith("order parcel-1 not_sent: "), line
