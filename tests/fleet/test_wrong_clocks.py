"""Clocks of the database and of workers that are wrong, and workers that are frozen."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import LEASE, SOAK, Fleet
from postgres import Cluster
from shop import DAY, Machine
from support import until

TWO_DAYS = 2 * DAY
FREEZES = 30 if SOAK else 3
LOST = {"fault": "lost_answer", "on": "writes"}


class Clocks:
    """A server whose clock the test sets, and that of the workers."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.database = cluster.machine(folder / "no file")
        self.workers = Machine(folder, folder / "no file")

    def set(self, database: int, workers: int) -> None:
        self.database.clock(database)
        self.workers.clock(workers, workers)


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clocks]:
    assert shutil.which("cc"), "a C compiler is missing"
    with Cluster() as cluster:
        yield Clocks(tmp_path_factory.mktemp("clocks"), cluster)


@pytest.fixture
def wrong(tmp_path: Path, clocks: Clocks) -> Iterator[Fleet]:
    clocks.set(0, 0)
    with Fleet(tmp_path, clocks.cluster) as fleet:
        fleet.environment |= clocks.workers.environment
        yield fleet


@pytest.mark.parametrize("database", [-TWO_DAYS, 0, TWO_DAYS])
@pytest.mark.parametrize("workers", [-TWO_DAYS, 0, TWO_DAYS])
def test_clocks_that_are_wrong(wrong: Fleet, clocks: Clocks, database: int, workers: int) -> None:
    """Nothing is sent while two clocks differ, or the ledger's goes back."""
    rows = [*wrong.parcels(3, LOST), *wrong.parcels(3)]
    wrong.enqueue("capture", rows[:3])
    wrong.work()
    assert wrong.count("state = 'unclear'") == 3
    clocks.set(database, workers)
    wrong.enqueue("capture", rows[3:])
    before = wrong.posts()
    is_wrong = database != workers or database < 0
    wrong.hurry()
    with wrong.workers(2):
        if is_wrong:
            paused = "SELECT 1 FROM takings_account WHERE paused_why = 'clock'"
            until(lambda: wrong.sql(paused), within=60, what="the clocks are found wrong")
        else:
            wrong.captured(6)
    if is_wrong:
        assert wrong.posts() == before
        assert "clock" in wrong.run("status")
    # The clocks are right again, and keys are forgotten.
    day = 25 * 60 * 60
    clocks.set(day, day)
    wrong.sandbox.control("/clock", {"advance_seconds": day})
    wrong.run("resume")
    wrong.work_off()
    wrong.is_right(6)


def test_frozen_with_claims_in_hand(wrong: Fleet, clocks: Clocks) -> None:
    """It wakes after two leases. What another worker did meanwhile is not done again."""
    chance = random.Random(2)
    rows = 0
    claimed = 0
    for number in range(1, FREEZES + 1):
        # The parcels of an order are sent one after the other. Each takes so long that the rest
        # waits in the worker when that is frozen.
        orders = wrong.orders([[{"fault": "delay", "seconds": 0.1}] * 20] * 3)
        parcels = [(order, f"p-{n}", 100) for order in orders for n in range(20)]
        rows += len(parcels)
        with wrong.worker(1) as frozen:
            until(wrong.has_begun(1), within=60, what="a worker has begun")
            wrong.enqueue("capture", parcels)
            sent = wrong.posts()
            share = chance.uniform(1, 40)
            until(lambda sent=sent, share=share: wrong.posts() > sent + share, what="some are sent")
            os.kill(frozen.process.pid, signal.SIGSTOP)
            claimed += wrong.count("state = 'sending'")
            clocks.set(number * 2 * LEASE, number * 2 * LEASE)
            wrong.sandbox.control("/clock", {"advance_seconds": 2 * LEASE})
            with wrong.workers(1):
                wrong.captured(rows)
            before = wrong.posts()
            os.kill(frozen.process.pid, signal.SIGCONT)
            # Its connection may have been ended meanwhile.
            wrong.enqueue("capture", wrong.parcels(1))
            rows += 1
            wrong.captured(rows)
            frozen.process.terminate()
            assert frozen.process.wait(timeout=120) == 0
            # Each of its three threads may have been frozen in the moment before it wrote.
            assert wrong.posts() <= before + 1 + 3
    assert claimed > 0
    wrong.is_right(rows)
