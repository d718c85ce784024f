"""Tests of the programs in examples/hosts: see README.md."""

from __future__ import annotations

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
    COBOL use nothing else of takings."""
    folder = tmp_path_factory.mktemp("prefix")
    run("make", "-C", ROOT, "install", f"PREFIX={folder}", within=900)
    return folder
