"""COBOL, over the C ABI."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch import captures_each_once, needs_an_account, tells_a_refusal
from support import ROOT, Sandbox, run

SOURCE = ROOT / "examples/hosts/cobol/capture.cob"


@pytest.fixture(scope="module")
def capture(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("cobol") / "capture"
    strict = ["-Wall", "-Werror", "-fstatic-call"]
    installed = ["-I", prefix / "share/takings", "-L", prefix / "lib", "-ltakings"]
    run("cobc", "-x", *strict, SOURCE, *installed, "-o", program)
    return program


def test_each_line_is_captured_once(sandbox: Sandbox, prefix: Path, capture: Path) -> None:
    library = str(prefix / "lib")
    captures_each_once(sandbox, capture, LD_LIBRARY_PATH=library)
    tells_a_refusal(sandbox, capture, LD_LIBRARY_PATH=library)
    needs_an_account(sandbox, capture, LD_LIBRARY_PATH=library)


def test_functions_are_found_at_run_time(sandbox: Sandbox, prefix: Path, tmp_path: Path) -> None:
    """Built as in shops that link no library."""
    program = tmp_path / "capture"
    run("cobc", "-x", "-I", prefix / "share/takings", SOURCE, "-o", program)
    found = {"COB_PRE_LOAD": "libtakings", "COB_LIBRARY_PATH": str(prefix / "lib")}
    captures_each_once(sandbox, program, **found)
