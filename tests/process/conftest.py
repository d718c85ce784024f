"""Tests of takings inside the processes that shops run: see README.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ADAPTERS, BUILT, Sandbox, built, compiled


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | Path]]:
    """The adapters of the conformance suite, one for each core or binding."""
    folder = tmp_path_factory.mktemp("programs")
    return {
        "rust": [built(BUILT / "adapter-rust")],
        "c": [compiled(ADAPTERS / "adapter.c", folder / "adapter-c")],
        "python": [sys.executable, ADAPTERS / "adapter.py"],
        "lua": ["lua5.4", ADAPTERS / "adapter.lua"],
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    """A sandbox that speaks TLS, and the authority to trust for it."""
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    with Sandbox("--tls", "--ca-out", str(file)) as sandbox:
        yield sandbox, file
