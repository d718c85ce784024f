"""Ledgers that forget: a backup takes their place, or a log that the disk has lost the end of."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time

import pytest
from shop import DAY, SOAK, Shop, integrity

CUTS = 200 if SOAK else 12


def backup(shop: Shop) -> None:
    with shop.ledger() as db:
        other = sqlite3.connect(shop.folder / "backup.db")
        db.backup(other)
        other.close()


def forget(shop: Shop) -> None:
    """Ends the ledger's files, as somebody does who makes room for a backup."""
    for ending in ("-wal", "-shm"):
        shop.path.with_name(shop.path.name + ending).unlink(missing_ok=True)


def put_in_place(shop: Shop, how: str) -> None:
    """Each way leaves one thing by which the ledger is known as restored."""
    forget(shop)
    if how == "another file":
        shop.path.unlink()
    # Otherwise the bytes go into the file that is there, which keeps its number.
    shutil.copyfile(shop.folder / "backup.db", shop.path)
    if how != "the same file":
        # The note of claims stays on the machine that was lost.
        shop.path.with_name(shop.path.name + ".lock").unlink()
    if how == "said by a person":
        shop.run("restored")


@pytest.mark.parametrize("how", ["another file", "the same file", "said by a person"])
@pytest.mark.parametrize("table", ["capture", "refund"])
def test_a_restored_backup_sends_nothing_twice(shop: Shop, how: str, table: str) -> None:
    """Rows that the backup lacks are enqueued again, days later, when their keys are forgotten."""
    orders = shop.orders([[]] * 8)
    if table == "refund":
        shop.enqueue("capture", [(order, "all", 1000) for order in orders])
        shop.work_off()
    rows = [(order, "p", 100) for order in orders]
    shop.enqueue(table, rows[:2])
    backup(shop)
    shop.enqueue(table, rows[2:6])
    shop.work_off()
    put_in_place(shop, how)
    shop.sandbox.control("/clock", {"advance_seconds": 2 * DAY})
    shop.enqueue(table, rows)
    shop.work_off()
    shop.is_right(8 + 8 * (table == "refund"))


def test_a_log_that_is_cut_off(shop: Shop) -> None:
    """The disk forgets the end of the log, at any byte. The shop enqueues again what it misses."""
    chance = random.Random(7)
    log = shop.path.with_name(shop.path.name + "-wal")
    rows: list[tuple[str, str, int]] = []
    lost = cut = 0
    for _ in range(CUTS):
        new = [(order, "p", 100) for order in shop.orders([[]] * 20)]
        rows += new
        with shop.start("worker") as worker:
            shop.enqueue("capture", new[:10])
            time.sleep(chance.uniform(0, 0.1))
            shop.enqueue("capture", new[10:])
            time.sleep(chance.uniform(0, 0.1))
            worker.process.send_signal(signal.SIGKILL)
            worker.process.wait()
        # Whoever opens the ledger now moves the log into it.
        if log.exists() and log.stat().st_size:
            cut += 1
            os.truncate(log, chance.randrange(log.stat().st_size))
        log.with_name(shop.path.name + "-shm").unlink(missing_ok=True)
        assert integrity(shop.path) == "ok"
        lost += len(rows) - shop.count()
        shop.enqueue("capture", rows)
        shop.work_off()
    print(f"{cut} logs were cut, {lost} rows were lost and enqueued again")
    assert cut > 0
    shop.is_right(20 * CUTS)
