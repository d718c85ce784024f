"""Tests of what `make dist` packs: see README.md."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "process"), str(TESTS / "hosts"), str(TESTS.parent / "scripts")]

from support import ROOT, Sandbox, run


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that TAKINGS_DIST names, or the packages of what has been built."""
    if folder := os.environ.get("TAKINGS_DIST"):
        return ROOT / folder
    into = tmp_path_factory.mktemp("dist") / "dist"
    run(sys.executable, ROOT / "scripts/dist.py", "--as-built", into, within=300)
    return into


def only(dist: Path, pattern: str) -> Path:
    [path] = dist.glob(pattern)
    return path


def unpacked(dist: Path, part: str, into: Path) -> Path:
    archive = only(dist, f"takings-{part}-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    return into / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def sandbox(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The one that was packed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = unpacked(dist, "sandbox", tmp_path_factory.mktemp("sandbox"))
        patch.setenv("TAKINGS_SANDBOX", str(folder / "takings-sandbox"))
        with Sandbox() as sandbox:
            yield sandbox
