"""Workers that are killed at random moments, while the sandbox makes every mistake there is."""

from __future__ import annotations

import concurrent.futures
import contextlib
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from shop import SOAK, Shop

KILLS = 1000 if SOAK else 75
SHOPS = 3

MISTAKES: list[dict[str, Any]] = [
    {"fault": "lost_answer"},
    {"fault": "reset_before_commit"},
    {"fault": "reset_after_commit"},
    {"fault": "close_before_commit"},
    {"fault": "reset_mid_answer"},
    {"fault": "close_mid_answer"},
    {"fault": "cut_body"},
    {"fault": "cut_body", "status": 500},
    {"fault": "delay", "seconds": 0.05, "when": "before_commit"},
    {"fault": "delay", "seconds": 0.05, "when": "after_commit"},
    {"fault": "stall", "seconds": 0.1, "when": "before_commit"},
    {"fault": "stall", "seconds": 0.1, "when": "after_commit"},
    {"fault": "too_many_requests", "ratelimit_reset": "1"},
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 503, "when": "after_commit"},
    {"fault": "status", "status": 502, "html": True, "when": "after_commit"},
    {"fault": "status", "status": 401, "html": True},
    {"fault": "status", "status": 403, "html": True},
    {"fault": "status", "status": 200, "html": True, "when": "after_commit"},
    {"fault": "created_without_id"},
    {"fault": "created", "headers": [["X-More", "1"]]},
    {"fault": "raw", "text": "HTTP/1.1 2", "when": "after_commit"},
    {"fault": "leftover", "text": "HTTP/1.1 500 no\r\n\r\n"},
    {"fault": "close_idle"},
    {"fault": "no_content_as_200"},
]
# Those of reads strike looks; a late commit strikes writes alone, as only they commit.
FAULTS = [
    *({**fault, "on": on} for fault in MISTAKES for on in ("writes", "reads")),
    {"fault": "commit_late", "on": "writes"},
    {"fault": "commit_late", "seconds": 0.2, "on": "writes"},
    {"fault": "lagging_read"},
    {"fault": "refunds_without", "member": "reference"},
]


class Killed:
    """A shop whose worker is killed again and again."""

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        # A ledger that is new looks first. The others must know by themselves when to look.
        self.shop = Shop(folder, first_ever=number > 0)
        self.random = random.Random(number)
        self.struck = 0
        self.rows = {"capture": set[tuple[str, str]](), "refund": set[tuple[str, str]]()}

    def receive(self) -> None:
        """New parcels, and the return of some that are captured. In each tenth order one is for
        more than the order, so Klarna refuses it."""
        chosen = [self.random.choices(FAULTS, k=self.random.randrange(5)) for _ in range(12)]
        for place, order in enumerate(self.shop.orders(chosen)):
            parcels = [(order, f"p-{n}", 1000 + n) for n in range(3)]
            # A refusal that nobody can believe before ten minutes are over is another test's.
            if place % 10 == 0 and self.is_vouched():
                parcels.append((order, "too-much", 2_000_000))
            self.shop.enqueue("capture", parcels)
            self.rows["capture"] |= {parcel[:2] for parcel in parcels}
        captured = self.shop.sql(
            "SELECT order_id, reference FROM takings_capture "
            "WHERE state = 'captured' ORDER BY random() LIMIT 12"
        )
        returns = [(order, f"return-{reference}", 500) for order, reference in captured]
        self.shop.enqueue("refund", returns)
        self.rows["refund"] |= {one[:2] for one in returns}

    def is_vouched(self) -> bool:
        return bool(self.shop.sql("SELECT look_until = 0 FROM takings_account")[0][0])

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

    def judge(self) -> None:
        self.shop.work_off()
        audit = self.shop.audit(code=2 if self.shop.count("state = 'stuck'") else 0)
        # Klarna's refusal after a request whose end nobody knows is a person's; so is a refusal of
        # a look by a page.
        stuck = [found for found in audit["found"] if found["verdict"] == "stuck"]
        assert audit["found"] == stuck
        assert [found for found in stuck if found["reference"] != "too-much"] == []
        assert [found for found in stuck if found["sandbox_id"]] == []
        for kind, rows in self.rows.items():
            names = self.shop.sql(f"SELECT order_id, reference FROM takings_{kind}")
            assert set(names) == rows
        unpaid = "state <> 'captured' AND reference <> 'too-much'"
        assert self.shop.count(unpaid) == 0
        assert self.shop.count("state <> 'refunded'", "refund") == 0
        assert self.shop.count("state = 'captured' AND reference = 'too-much'") == 0


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


def test_every_fault_of_the_sandbox_is_met(shop: Shop) -> None:
    """Its own words for an unknown one name those that it knows."""
    with pytest.raises(AssertionError, match="unknown variant") as refused:
        shop.sandbox.order({"fault": "another"})
    known = set(re.findall(r"`(\w+)`", str(refused.value))) - {"another"}
    assert known == {str(fault["fault"]) for fault in FAULTS}
