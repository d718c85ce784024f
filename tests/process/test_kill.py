"""A shop that is killed at random points and starts again does every job once."""

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
# What happens to each order, one after the other. The amounts tell the jobs of an order apart.
JOBS = [
    ("capture", "parcel-1", 100),
    ("capture", "parcel-2", 200),
    ("refund", "return-1", 150),
    ("capture", "parcel-3", 300),
    ("release_remaining_authorization", "night", 0),
]

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
                "CREATE TABLE jobs (place INTEGER PRIMARY KEY, operation TEXT, order_id TEXT, "
                "name TEXT, amount INTEGER, result TEXT)"
            )

    def receive(self, orders: int) -> None:
        """Puts the jobs of new orders on the list."""
        with sqlite3.connect(self.file, timeout=30) as to_do:
            for _ in range(orders):
                faults = self.random.choices(FAULTS, k=len(JOBS))
                # The amount exceeds all parcels, so that a second capture would succeed.
                order_id = self.sandbox.order(
                    *({**fault, "on": "writes"} for fault in faults), order_amount=10_000
                )
                to_do.executemany(
                    "INSERT INTO jobs (operation, order_id, name, amount) VALUES (?, ?, ?, ?)",
                    [(operation, order_id, name, amount) for operation, name, amount in JOBS],
                )

    def jobs(self) -> list[tuple[str, str, int, str | None]]:
        with sqlite3.connect(self.file, timeout=30) as to_do:
            return to_do.execute(
                "SELECT order_id, operation, amount, result FROM jobs ORDER BY place"
            ).fetchall()

    def work_and_be_killed(self, times: int) -> None:
        for _ in range(times):
            if sum(result is None for *_, result in self.jobs()) < 100:
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


def entry_of(entry: dict[str, Any]) -> tuple[str, str, int, str]:
    """An entry of the ledger, as the shop books it."""
    kind = entry["kind"]
    if kind == "capture":
        return entry["order_id"], kind, entry["captured_amount"], entry["capture_id"]
    if kind == "refund":
        return entry["order_id"], kind, entry["refunded_amount"], entry["refund_id"]
    return entry["order_id"], kind, 0, "done"


def test_killed_at_random_points(sandbox: Sandbox, tmp_path: Path) -> None:
    shops = [Shop(sandbox, tmp_path, number) for number in range(SHOPS)]
    with concurrent.futures.ThreadPoolExecutor(SHOPS) as pool:
        works = [pool.submit(shop.work_and_be_killed, KILLS // SHOPS) for shop in shops]
        for work in works:
            work.result()
        finishes = [pool.submit(shop.finish) for shop in shops]
        for finish in finishes:
            finish.result()

    done = [entry_of(entry) for entry in sandbox.ledger()]
    counted = Counter(entry[:3] for entry in done)
    wanted = [job for shop in shops for job in shop.jobs()]
    missing = [job for job in wanted if counted[job[:3]] == 0]
    twice = {job: count for job, count in counted.items() if count > 1}
    assert (missing, twice) == ([], {})
    assert len(done) == len(wanted)
    # The shop's books agree with the ledger, and its judge has nothing to say.
    ids = {entry[:3]: entry[3] for entry in done}
    assert [job for job in wanted if ids[job[:3]] != job[3]] == []
    assert sandbox.control("/audit") == []
    # Kills did strike between a job and the shop's note of it: a later run asked again for what an
    # earlier one had done.
    runs: dict[str, list[str]] = {}
    committed: dict[str, str] = {}
    for request in sandbox.requests():
        key = header(request, "klarna-idempotency-key")
        run = header(request, "user-agent")
        runs.setdefault(key, []).append(run)
        if request["committed"]:
            committed[key] = run
    again = sum(committed.get(key) not in (None, asked[-1]) for key, asked in runs.items())
    print(f"{KILLS} kills, {len(wanted)} jobs, {again} done by a run that never knew")
    assert again > KILLS // 50
