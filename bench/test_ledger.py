"""The harness of the ledger with the programs as built for the tests: few rows, no figures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_ledger
from run_ledger import Place, Scale

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

FEW = Scale(
    parcels=300, enqueued=200, killed=1000, kills=1, waiting=50, idle_seconds=0.1, backlog=60
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with run_ledger.place(TARGET / "debug", tmp_path, hands=8) as place:
        yield place


def test_each_part_measures_what_was_done(place: Place) -> None:
    figures = {figure.what: figure for figure in run_ledger.measure(place, FEW, "")}
    # Times are those of a busy machine. Counts hold on any.
    assert figures["each of them captured once: rows, ids, captures of the server"].is_met
    assert figures["1,000 parcels of 2 killed workers, each once: rows, captures"].is_met
    assert len(figures) == 14
    # Beside the load of the machine the first and the last tenth alone say little.
    assert re.search(r"( \d+){10} µs$", figures["first and last 30"].value)


def test_a_parcel_that_is_captured_once_too_often_is_seen(place: Place) -> None:
    other = place.ledger("other", rate=1e9)
    run_ledger.enqueue(other, 10)
    with run_ledger.opened(other) as db, db:
        # The server takes a request with another body for no capture.
        db.execute("DROP TRIGGER takings_capture_fixed")
        db.execute("UPDATE takings_capture SET captured_amount = 1 WHERE reference = 'other-3'")
    before = place.server.captured()
    with place.worker(other, "--until-quiet", "1") as worker:
        worker.process.wait(timeout=120)
    assert place.server.captured() - before == 9
    with run_ledger.opened(other) as db:
        states = db.execute("SELECT state, count(*) FROM takings_capture GROUP BY 1 ORDER BY 1")
        assert states.fetchall() == [("captured", 9), ("rejected", 1)]


def test_a_scale_is_a_part_of_all() -> None:
    part = Scale().divided(20)
    assert (part.parcels, part.enqueued, part.backlog) == (50_000, 5_000, 5_000)
    assert (part.kills, part.idle_seconds) == (5, 3)
    assert Scale().divided(1) == Scale()
