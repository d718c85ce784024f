"""A C program with threads, built with what pkg-config says."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from batch import LOST, captures_each_once, needs_an_account, night, tells_a_refusal
from support import ROOT, Sandbox, run

SOURCE = ROOT / "examples/hosts/c-threads/capture.c"


def flags(prefix: Path, *wanted: str) -> list[str]:
    folder = str(prefix / "lib/pkgconfig")
    return shlex.split(run("pkg-config", *wanted, "takings", PKG_CONFIG_PATH=folder))


def compiled(program: Path, *linked: str) -> Path:
    compiler = shlex.split(os.environ.get("CC") or "cc")
    strict = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    run(*compiler, *strict, SOURCE, "-o", program, *linked, "-lpthread")
    return program


@pytest.fixture(scope="module", params=["shared", "static"])
def capture(
    request: pytest.FixtureRequest, prefix: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """The program and the environment it needs."""
    program = tmp_path_factory.mktemp("c-threads") / "capture"
    if request.param == "shared":
        compiled(program, *flags(prefix, "--cflags", "--libs"))
        needed = run("readelf", "--wide", "--dynamic", program)
        assert "Shared library: [libtakings.so.1]" in needed
        return program, {"LD_LIBRARY_PATH": str(prefix / "lib")}
    # Where both libraries lie in one folder, -ltakings is the shared one.
    static = [
        "-l:libtakings.a" if word == "-ltakings" else word
        for word in flags(prefix, "--static", "--cflags", "--libs")
    ]
    compiled(program, *static)
    assert "libtakings" not in run("readelf", "--wide", "--dynamic", program)
    return program, {}


def test_each_line_is_captured_once(sandbox: Sandbox, capture: tuple[Path, dict[str, str]]) -> None:
    program, environment = capture
    captures_each_once(sandbox, program, "4", **environment)
    tells_a_refusal(sandbox, program, "2", **environment)
    needs_an_account(sandbox, program, "1", **environment)


def test_threads_share_one_client(sandbox: Sandbox, capture: tuple[Path, dict[str, str]]) -> None:
    program, environment = capture
    orders = [sandbox.order(LOST) if number % 3 == 0 else sandbox.order() for number in range(60)]
    lines = "".join(f"{order} {number + 1} parcel\n" for number, order in enumerate(orders))
    status, printed = night(sandbox, program, "16", lines=lines, **environment)
    # Many lost answers at once can use up a client's budget for retries. Those calls are repeated.
    if status != 0:
        status, printed = night(sandbox, program, "16", lines=lines, **environment)
    assert status == 0, printed
    assert len(printed) == len(orders)
    for number, order in enumerate(orders):
        [capture_made] = sandbox.ledger(order)
        assert capture_made["captured_amount"] == number + 1
        assert f"{order} parcel captured {capture_made['capture_id']}" in printed


def test_the_static_library_needs_what_rustc_says(prefix: Path) -> None:
    shared, static = flags(prefix, "--libs"), flags(prefix, "--static", "--libs")
    assert static[: len(shared)] == shared
    said = ROOT / "target/release/native-static-libs"
    assert static[len(shared) :] == said.read_text().split()
