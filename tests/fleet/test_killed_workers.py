"""Three workers of one ledger, killed at random moments, while the sandbox makes every mistake."""

from __future__ import annotations

import contextlib
import signal
import time

import pytest
from fleet import SOAK, Fleet
from support import until
from traffic import REFUSAL, Traffic

KILLS = 1000 if SOAK else 60
WORKERS = 3


def test_killed_at_random_moments(fleet: Fleet) -> None:
    """The others go on with what is due meanwhile."""
    traffic = Traffic(fleet, 5, first_ever=True)
    struck = 0
    for _ in range(KILLS // WORKERS):
        if fleet.is_open() < 60:
            traffic.receive()
        fleet.hurry()
        with contextlib.ExitStack() as ends:
            workers = [ends.enter_context(fleet.worker(number)) for number in range(WORKERS)]
            for worker in workers:
                time.sleep(traffic.random.uniform(0, 0.2))
                worker.process.send_signal(signal.SIGKILL)
                worker.process.wait()
        struck += bool(fleet.count("state = 'sending'"))
        fleet.end_leases()
    traffic.judge()
    rows = sum(len(rows) for rows in traffic.rows.values())
    print(f"{KILLS} kills, {rows} rows, {struck} rounds left rows that were being sent")
    assert struck > KILLS // 50


@pytest.mark.parametrize("kind", ["lost answer", "kill"])
def test_a_refusal_to_the_next_worker_says_nothing(fleet: Fleet, kind: str) -> None:
    """Only the row tells the second worker that the first may have captured it."""
    first = {"kill": {"fault": "stall", "when": "after_commit"}}.get(kind, {"fault": "lost_answer"})
    fleet.enqueue("capture", fleet.parcels(3, first, REFUSAL))
    with fleet.worker(0) as worker:
        until(lambda: len(fleet.sandbox.ledger()) == 3, what="all are captured at the sandbox")
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
    fleet.work_off()
    assert fleet.count("state = 'captured'") == 3
    fleet.is_right(3)
