"""A shop that is killed at random points and starts again captures every parcel once."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support import Sandbox, header, python

KILLS = int(os.environ.get("TAKINGS_KILLS", "500"))
SHOPS = 4
PARCELS = 3

FAULTS: list[dict[str, Any]] = [
    {"fault": "delay", "seconds": 0.01, "when": "before_commit"},
    {"fault": "delay", "seconds": 0.01, "when": "after_commit"},
    {"fault": "lost_answer"},
    {"fault": "reset_after_commit"},
    {"fault": "reset_before_commit"},
    {"fault": "reset_mid_answer"},
    {"fault": "status", "status": 503},
    {"fault": "too_many_requests", "retry_after": "0"},
]


class Shop:
    """A shop's to-do list and its orders."""

    def __init__(self, sandbox: Sandbox, folder: Path, number: int) -> None:
        self.sandbox = sandbox
        self.file = folder / f"shop-{number}.sqlite"
        self.random = random.Random(number)
        with sqlite3.connect(self.file) as to_do:
            to_do.execute(
                "CREATE TABLE parcels (place INTEGER PRIMARY KEY, order_id TEXT, "
                "parcel INTEGER, amount INTEGER, capture_id TEXT)"
            )

    def receive(self, orders: int) -> None:
        """Puts new orders on the list."""
        with sqlite3.connect(self.file, timeout=30) as to_do:
            for _ in range(orders):
                faults = self.random.choices(FAULTS, k=PARCELS)
                # The amount exceeds all parcels, so that a second capture would succeed.
                order_id = self.sandbox.order(*faults, order_amount=10_000)
                to_do.executemany(
                    "INSERT INTO parcels (order_id, parcel, amount) VALUES (?, ?, ?)",
                    [(order_id, parcel, 100 * parcel) for parcel in (1, 2, 3)],
                )

    def parcels(self) -> list[tuple[str, int, int, str | None]]:
        with sqlite3.connect(self.file, timeout=30) as to_do:
            return to_do.execute(
                "SELECT order_id, parcel, amount, capture_id FROM parcels ORDER BY place"
            ).fetchall()

    def work_and_be_killed(self, times: int) -> None:
        for _ in range(times):
            if sum(capture is None for *_, capture in self.parcels()) < 60:
                self.receive(30)
            with python("shop.py", self.sandbox.url, self.file) as shop:
                assert shop.hear() == "open"
                time.sleep(self.random.uniform(0, 0.06))
                assert shop.process.poll() is None, "it had nothing left to do"
                shop.process.send_signal(signal.SIGKILL)
                shop.process.wait()

    def finish(self) -> None:
        with python("shop.py", self.sandbox.url, self.file) as shop:
            shop.end(within=120)


def test_killed_at_random_points(sandbox: Sandbox, tmp_path: Path) -> None:
    shops = [Shop(sandbox, tmp_path, number) for number in range(SHOPS)]
    with concurrent.futures.ThreadPoolExecutor(SHOPS) as pool:
        works = [pool.submit(shop.work_and_be_killed, KILLS // SHOPS) for shop in shops]
        for work in works:
            work.result()
        finishes = [pool.submit(shop.finish) for shop in shops]
        for finish in finishes:
            finish.result()

    ledger = sandbox.ledger()
    captured = Counter((entry["order_id"], entry["captured_amount"]) for entry in ledger)
    wanted = [parcel for shop in shops for parcel in shop.parcels()]
    missing = [row for row in wanted if captured[row[0], row[2]] == 0]
    twice = {parcel: count for parcel, count in captured.items() if count > 1}
    assert (missing, twice) == ([], {})
    assert len(ledger) == len(wanted)
    # The shop's books agree with the ledger.
    ids = {(entry["order_id"], entry["captured_amount"]): entry["capture_id"] for entry in ledger}
    assert [row for row in wanted if ids[row[0], row[2]] != row[3]] == []
    # Kills did strike between a capture and the shop's note of it: a later run asked again for
    # what an earlier one had captured.
    runs: dict[str, list[str]] = {}
    committed: dict[str, str] = {}
    for request in sandbox.requests():
        key = header(request, "klarna-idempotency-key")
        run = header(request, "user-agent")
        runs.setdefault(key, []).append(run)
        if request["committed"]:
            committed[key] = run
    again = sum(committed.get(key) not in (None, asked[-1]) for key, asked in runs.items())
    print(f"{KILLS} kills, {len(wanted)} parcels, {again} captured by a run that never knew")
    assert again > KILLS // 50
