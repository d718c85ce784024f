"""Tests of a fleet of workers over PostgreSQL: see README.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "process"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ledger"))

from fleet import Fleet
from postgres import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server of all tests that leave it well."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A server of the test's own, which waits for its disk."""
    with Cluster(fsync="on") as cluster:
        yield cluster


@pytest.fixture
def fleet(tmp_path: Path, cluster: Cluster) -> Iterator[Fleet]:
    with Fleet(tmp_path, cluster) as fleet:
        yield fleet
