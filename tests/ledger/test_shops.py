"""Shops that insert with another SQLite while the worker runs."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys

from shop import HERE, SOAK, Shop
from support import Program

SHOPS = 16
NAMES = 500 if SOAK else 40


def test_of_sixteen_shops_exactly_the_different_ones_fail(shop: Shop) -> None:
    """Each name is enqueued by all, by each fourth with another amount. The worker is killed on
    the way."""
    [order] = shop.orders([[]], amount=100_000_000)
    amounts = [601 if number % 4 == 0 else 600 for number in range(SHOPS)]
    script = HERE / "inserts.py"
    programs = [
        Program(sys.executable, script, shop.path, order, str(amount), str(NAMES))
        for amount in amounts
    ]
    try:
        for program in programs:
            assert program.hear() == "ready"
        with shop.start("worker") as worker:
            for program in programs:
                program.say("")
            programs[0].hear()
            worker.process.send_signal(signal.SIGKILL)
            worker.process.wait()
        with shop.start("worker") as worker:
            refused = [json.loads(program.hear()) for program in programs[1:]]
            shop.stop(worker)
    finally:
        for program in programs:
            program.kill()
    kept = dict(shop.sql("SELECT reference, captured_amount FROM takings_capture"))
    assert set(kept) == {f"p-{name}" for name in range(NAMES)}
    for amount, names in zip(amounts[1:], refused, strict=True):
        assert names == [f"p-{name}" for name in range(NAMES) if kept[f"p-{name}"] != amount]
    shop.work_off()
    shop.is_right(NAMES)


def test_a_shop_with_an_older_sqlite_only_inserts(shop: Shop) -> None:
    """Two libraries have the file open at once, each in a process of its own."""
    theirs = json.loads(shop.run("doctor", "--json"))
    [facts] = [found["text"] for found in theirs["found"] if found["name"] == "ledger"]
    print(f"the shop's SQLite is {sqlite3.sqlite_version}; the ledger: {facts}")
    rows = 2000 if SOAK else 300
    [order] = shop.orders([[]])
    with shop.start("worker") as worker, shop.ledger() as held:
        for number in range(rows):
            with held:
                shop_inserts = "INSERT INTO takings_capture (order_id, reference, captured_amount) "
                held.execute(shop_inserts + "VALUES (?, ?, 100)", (order, f"p-{number}"))
            state = "SELECT state FROM takings_capture WHERE reference = ?"
            assert held.execute(state, (f"p-{number}",)).fetchone()
        shop.stop(worker)
    shop.work_off()
    assert shop.sql("PRAGMA integrity_check") == [("ok",)]
    shop.is_right(rows)
