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
from support import until

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
# Klarna's own no, which may come behind an answer that was lost.
REFUSAL = {"fault": "status", "status": 403, "error_code": "NOT_ALLOWED", "on": "writes"}


class Killed:
    """A shop whose worker is killed again and again."""

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        # A ledger that is new looks first. The others must know by themselves when to look.
        self.first_ever = number > 0
        self.shop = Shop(folder, first_ever=self.first_ever)
        self.random = random.Random(number)
        self.struck = 0
        self.refusing: set[str] = set()
        self.rows = {"capture": set[tuple[str, str]](), "refund": set[tuple[str, str]]()}

    def receive(self) -> None:
        """New parcels, and the return of some that are captured. Klarna refuses parcels of some
        orders, and each that is for more than its order."""
        chosen = [self.random.choices(FAULTS, k=self.random.randrange(5)) for _ in range(12)]
        # A new ledger believes no refusal before ten minutes are over.
        refusing = 4 if self.first_ever else 0
        for faults in chosen[:refusing]:
            faults.insert(self.random.randrange(len(faults) + 1), REFUSAL)
        orders = self.shop.orders(chosen)
        self.refusing |= set(orders[:refusing])
        for place, order in enumerate(orders):
            # A single parcel is asked for again, and refused behind a lost answer.
            count = 1 if place < refusing else 3
            parcels = [(order, f"p-{n}", 1000 + n) for n in range(count)]
            if place < refusing // 4:
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
        stuck = sum(self.shop.count("state = 'stuck'", kind) for kind in self.rows)
        audit = self.shop.audit(code=2 if stuck else 0)
        assert [found for found in audit["found"] if found["verdict"] != "stuck"] == []
        # A no after a request whose end nobody knows is left to a person, and only that.
        assert audit["counts"]["stuck"] == stuck
        for kind, rows in self.rows.items():
            all_rows = self.shop.sql(f"SELECT order_id, reference, state, why FROM takings_{kind}")
            assert {row[:2] for row in all_rows} == rows
            done = {"capture": "captured", "refund": "refunded"}[kind]
            others = [row for row in all_rows if row[2] != done]
            assert [row for row in others if row[0] not in self.refusing] == []
            assert {row[2:] for row in others} <= {
                ("rejected", "refused"),
                ("stuck", "refused_after_unclear"),
            }
        assert [found for found in audit["found"] if found["sandbox_id"]] == []


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
