"""Tests of the programs in examples/hosts: see README.md."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "process"))

from support import ROOT, Sandbox, run


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C and C++ library as `make install` puts it in place. The programs in C, C++, PHP and
    COBOL use nothing else of takings. The processes of a run (pytest -n) share it."""
    mine = tmp_path_factory.getbasetemp()
    run_s = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    folder, whole = run_s / "prefix", run_s / "prefix-is-whole"
    with (run_s / "prefix.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            run("make", "-C", ROOT, "install", f"PREFIX={folder}", within=900)
            whole.touch()
    return folder
