"""A shop inserts into the ledger's tables with its own SQLite: this Python's, such as 3.40."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

SCHEMA = Path(__file__).parents[2] / "ledger" / "sql" / "sqlite" / "001.sql"
ORDER = "f3392f8b-6116-4073-ab96-e330819e2c07"
AMOUNTS = {"takings_capture": "captured_amount", "takings_refund": "refunded_amount"}
INSERTS = {
    table: f"INSERT INTO {table} (order_id, reference, {amount}) VALUES (?, ?, ?)"
    for table, amount in AMOUNTS.items()
}
ACCOUNT = "INSERT INTO takings_account (account, look_until, look_since) VALUES ('default', 0, 0)"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA.read_text(encoding="utf-8"))
        db.execute(ACCOUNT)
    db.close()
    return path


@pytest.mark.parametrize("table", INSERTS)
def test_a_shop_inserts_in_its_own_transaction(ledger: Path, table: str) -> None:
    db = sqlite3.connect(ledger)
    with db:
        assert db.execute(INSERTS[table], (ORDER, "parcel-1", 6000)).rowcount == 1
        assert db.execute(INSERTS[table], (ORDER, "parcel-1", 6000)).rowcount == 0
    state, enqueued_at = db.execute(f"SELECT state, enqueued_at FROM {table}").fetchone()
    assert state == "queued"
    assert abs(enqueued_at - time.time() * 1000) < 60_000
    db.close()


@pytest.mark.parametrize("amount", ["60.00", 60.5, 60.0, "6000", None, 0, -1, 200_000_001, b"60"])
def test_an_amount_of_another_type_is_refused(ledger: Path, amount: object) -> None:
    db = sqlite3.connect(ledger)
    for table, insert in INSERTS.items():
        for verb in ("INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"):
            with pytest.raises(
                sqlite3.IntegrityError, match=f"{AMOUNTS[table]} must be a whole number"
            ):
                db.execute(insert.replace("INSERT", verb, 1), (ORDER, "parcel-1", amount))
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    db.close()


def test_sixteen_shops_enqueue_the_same_names_and_the_different_ones_fail(ledger: Path) -> None:
    """Each name is enqueued by all; every fourth shop has another amount."""
    refused: list[tuple[str, int, str]] = []
    amounts = [6001 if number % 4 == 0 else 6000 for number in range(16)]
    begin = threading.Barrier(16)

    def shop(number: int) -> None:
        db = sqlite3.connect(ledger, timeout=60)
        begin.wait()
        for name in range(20):
            try:
                with db:
                    db.execute(
                        INSERTS["takings_capture"], (ORDER, f"parcel-{name}", amounts[number])
                    )
            except sqlite3.IntegrityError as error:
                refused.append((f"parcel-{name}", number, str(error)))
        db.close()

    shops = [threading.Thread(target=shop, args=(number,)) for number in range(16)]
    for thread in shops:
        thread.start()
    for thread in shops:
        thread.join()
    db = sqlite3.connect(ledger)
    rows = dict(db.execute("SELECT reference, captured_amount FROM takings_capture"))
    db.close()
    assert len(rows) == 20
    for name, amount in rows.items():
        different = {number for number in range(16) if amounts[number] != amount}
        assert {number for of, number, _ in refused if of == name} == different
    assert all("another content" in why for _, _, why in refused)


def test_a_reader_of_outcomes(ledger: Path) -> None:
    db = sqlite3.connect(ledger)
    with db:
        db.execute(INSERTS["takings_capture"], (ORDER, "parcel-1", 6000))
        db.execute(
            "UPDATE takings_capture SET state = 'captured', capture_id = 'c',"
            " due_at = NULL, settled_at = 5"
        )
    with db:
        new = "settled_at IS NOT NULL AND seen_at IS NULL"
        assert db.execute(f"UPDATE takings_capture SET seen_at = 6 WHERE {new}").rowcount == 1
    undone = "state = 'queued', due_at = 0, settled_at = NULL, capture_id = NULL"
    for sql in (undone, "capture_id = 'd'"):
        with pytest.raises(sqlite3.IntegrityError, match="captured is final"):
            db.execute(f"UPDATE takings_capture SET {sql}")
    db.close()
