"""ffi-c/README.md, carried out by somebody who has the repository beside them and a PREFIX."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT, Program, Sandbox, run

README = (ROOT / "ffi-c/README.md").read_text()


def blocks(language: str) -> list[str]:
    found = [rest.split("```")[0] for rest in README.split(f"```{language}\n")[1:]]
    assert found, f"no {language} in ffi-c/README.md"
    return found


def account(sandbox: Sandbox) -> dict[str, str]:
    return {
        "KLARNA_BASE_URL": sandbox.url,
        "KLARNA_USERNAME": "sandbox",
        "KLARNA_PASSWORD": "sandbox",
    }


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "takings").symlink_to(ROOT)
    return tmp_path


def test_the_commands_build_programs_that_capture(
    sandbox: Sandbox, prefix: Path, desk: Path
) -> None:
    said: list[str] = []
    programs = 0
    for block in blocks("sh"):
        script = "\n".join(["set -e", *said, block])
        said += [line for line in block.splitlines() if line.startswith("export ")]
        place = prefix
        if "make -C takings install" in block:
            place = desk / "prefix"
        with Program("sh", "-c", script, cwd=desk, environment={"PREFIX": str(place)}) as shell:
            shell.end(within=900)
        if place != prefix:
            assert (place / "include/takings.h").exists()
        for program in (path for path in desk.glob("capture-*")):
            programs += 1
            captures(sandbox, program)
            program.unlink()
        if "cmake --build" in block:
            programs += 1
            captures(sandbox, desk / "build/capture")
    # each command that makes a program made one
    assert programs == sum(
        block.count(" -o capture-") + block.count("cmake --build") for block in blocks("sh")
    )


def captures(sandbox: Sandbox, program: Path) -> None:
    order = sandbox.order()
    if program.name in ("capture-c", "capture-cpp"):
        run(program, order, ROOT / "examples/capture.json", **account(sandbox))
    else:
        at_once = ["2"] if program.name in ("capture-threads", "capture-multi") else []
        with Program(program, *at_once, environment=account(sandbox)) as started:
            started.end(given=f"{order} 6000 parcel-1\n")
    assert [capture["captured_amount"] for capture in sandbox.ledger(order)] == [6000]


def test_the_cmake_snippet_is_the_example_s() -> None:
    [snippet] = blocks("cmake")
    assert snippet in (ROOT / "examples/hosts/cmake/CMakeLists.txt").read_text()


def test_the_php_snippet_captures(sandbox: Sandbox, prefix: Path, desk: Path) -> None:
    [snippet] = blocks("php")
    lost = [{"fault": "lost_answer"} for _ in range(3)]
    order = sandbox.order(*lost)
    given = f"<?php\n$prefix = '{prefix}';\n$orderId = '{order}';\n"
    (desk / "snippet.php").write_text(given + snippet)

    def php() -> str:
        with Program("php", "snippet.php", cwd=desk, environment=account(sandbox)) as program:
            return program.end()

    assert php().startswith("ask again with the same key: ")
    said = php()
    [capture] = sandbox.ledger(order)
    assert said == f"captured as {capture['capture_id']}\n"


def test_no_snippet_is_left_out() -> None:
    """The C snippet is run by ffi-c/tests/readme.rs, php.ini's lines by test_php.py."""
    known = ("sh", "cmake", "php", "c", "ini")
    assert README.count("```") == 2 * sum(len(blocks(language)) for language in known)
