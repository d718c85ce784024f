"""The harness of a fleet with the programs as built for the tests: few rows, no figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_fleet
from run_fleet import Fleet, Scale

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

FEW = Scale(
    parcels=300,
    enqueued=200,
    workers=3,
    shared_seconds=1,
    idle_seconds=0.1,
    dead=100,
    held_seconds=0.5,
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with run_fleet.fleet(TARGET / "debug", hands=8) as fleet:
        yield fleet


def test_each_part_measures_what_was_done(fleet: Fleet) -> None:
    figures = {figure.what: figure for figure in run_fleet.measure(fleet, FEW, "")}
    # Times are those of a busy machine. Counts hold on any.
    assert figures["each of them captured once: rows, ids, captures of the server"].is_met
    assert len(figures) == 17


def test_what_the_database_spends_is_counted(fleet: Fleet) -> None:
    database = fleet.ledger("spent")
    begin = fleet.spent()
    fleet.enqueue(database, 5000)
    fleet.forget_statements(database)
    fleet.cluster.ask("SELECT sum(length(request)) FROM takings_capture", database)
    end = fleet.spent()
    assert end.wal - begin.wal > 5000 * 100
    assert end.cpu > begin.cpu
    assert [calls for query, calls, *_ in fleet.statements(database) if "length" in query] == [1]


def test_a_scale_is_a_part_of_all() -> None:
    part = Scale().divided(20)
    assert (part.parcels, part.enqueued, part.dead) == (50_000, 5_000, 32_400)
    assert (part.workers, part.idle_seconds) == (20, 3)
    assert Scale().divided(1) == Scale()
