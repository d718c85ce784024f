"""Workers that are killed at random moments, while the sandbox makes every mistake there is."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import signal
import time
from pathlib import Path

import pytest
from shop import SOAK, Shop
from support import until
from traffic import FAULTS, REFUSAL, Traffic

KILLS = 1000 if SOAK else 75
SHOPS = 3


class Killed(Traffic):
    """A shop whose worker is killed again and again."""

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        # A ledger that is new looks first. The others must know by themselves when to look.
        first_ever = number > 0
        super().__init__(Shop(folder, first_ever=first_ever), number, first_ever=first_ever)
        self.struck = 0

    def work_and_be_killed(self, times: int) -> None:
        for _ in range(times):
            if self.shop.is_open() < 30:
                self.receive()
            self.shop.hurry()
            with self.shop.start("worker") as worker:
                time.sleep(self.random.uniform(0, 0.25))
                worker.process.send_signal(signal.SIGKILL)
                worker.process.wait()
            self.struck += bool(self.shop.count("state = 'sending'"))


def test_killed_at_random_moments(tmp_path: Path) -> None:
    with contextlib.ExitStack() as ends:
        shops = [Killed(tmp_path / str(number), number) for number in range(SHOPS)]
        for shop in shops:
            ends.enter_context(shop.shop)
        with concurrent.futures.ThreadPoolExecutor(SHOPS) as pool:
            list(pool.map(lambda shop: shop.work_and_be_killed(KILLS // SHOPS), shops))
            list(pool.map(Killed.judge, shops))
    struck = sum(shop.struck for shop in shops)
    rows = sum(len(rows) for shop in shops for rows in shop.rows.values())
    print(f"{KILLS} kills, {rows} rows, {struck} kills while rows were being sent")
    assert struck > KILLS // 50


def test_a_refusal_behind_a_lost_answer_says_nothing(shop: Shop) -> None:
    """The ledger knows of the lost answer. The look finds the capture."""
    orders = shop.orders([[{"fault": "lost_answer"}, REFUSAL]] * 3)
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    shop.work_off()
    assert shop.count("state = 'captured'") == 3
    shop.is_right(3)


def test_a_refusal_behind_a_kill_says_nothing(shop: Shop) -> None:
    """Only the claim of a worker that is gone tells that something may have been carried out."""
    slow = {"fault": "stall", "when": "after_commit"}
    orders = shop.orders([[slow, REFUSAL]] * 3)
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    with shop.start("worker") as worker:
        until(lambda: len(shop.sandbox.ledger()) == 3, what="all are captured at the sandbox")
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
    shop.work_off()
    assert shop.count("state = 'captured'") == 3
    shop.is_right(3)


def test_every_fault_of_the_sandbox_is_met(shop: Shop) -> None:
    """Its own words for an unknown one name those that it knows."""
    with pytest.raises(AssertionError, match="unknown variant") as refused:
        shop.sandbox.order({"fault": "another"})
    known = set(re.findall(r"`(\w+)`", str(refused.value))) - {"another"}
    assert known == {str(fault["fault"]) for fault in FAULTS}
