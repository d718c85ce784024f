"""A shop inserts into the ledger's tables with its own SQLite: the one of this Python, such as Debian 12's 3.40."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

SCHEMA = Path(__file__).parents[2] / "ledger" / "sql" / "sqlite" / "001.sql"
ORDER = "f3392f8b-6116-4073-ab96-e330819e2c07"
INSERTS = {
    "takings_capture": "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES (?, ?, ?)",
    "takings_refund": "INSERT INTO takings_refund (order_id, reference, refunded_amount) VALUES (?, ?, ?)",
}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA.read_text(encoding="utf-8"))
        db.execute("INSERT INTO takings_account (account, look_until, look_since) VALUES ('default', 0, 0)")
    db.close()
    return path


@pytest.mark.parametrize("table", INSERTS)
def test_a_shop_inserts_in_its_own_transaction(ledger: Path, table: str) -> None:
    db = sqlite3.connect(ledger)
    with db:
        assert db.execute(INSERTS[table], (ORDER, "parcel-1", 6000)).rowcount == 1
        assert db.execute(INSERTS[table], (ORDER, "parcel-1", 6000)).rowcount == 0
    row = db.execute(f"SELECT state, due_at, sends, abs(enqueued_at - unixepoch() * 1000) < 5000 FROM {table}").fetchone()
    assert row == ("queued", 0, 0, 1)
    db.close()


@pytest.mark.parametrize("amount", ["60.00", 60.5, 60.0, "6000", None, 0, -1, 200_000_001, b"60"])
def test_an_amount_of_another_type_is_refused(ledger: Path, amount: object) -> None:
    db = sqlite3.connect(ledger)
    for table, insert in INSERTS.items():
        for verb in ("INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"):
            with pytest.raises(sqlite3.IntegrityError, match="amount must be a whole number of minor units"):
                db.execute(insert.replace("INSERT", verb, 1), (ORDER, "parcel-1", amount))
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    db.close()


def test_sixteen_shops_enqueue_the_same_names_and_the_different_ones_fail(ledger: Path) -> None:
    """Each name is enqueued by all; every fourth shop has another amount."""
    refused: list[tuple[str, int]] = []
    begin = threading.Barrier(16)

    def shop(number: int) -> None:
        db = sqlite3.connect(ledger, timeout=60)
        begin.wait()
        for name in range(20):
            try:
                with db:
                    db.execute(INSERTS["takings_capture"], (ORDER, f"parcel-{name}", 6001 if number % 4 == 0 else 6000))
            except sqlite3.IntegrityError as error:
                assert "another content" in str(error)
                refused.append((f"parcel-{name}", number))
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
        different = {number for number in range(16) if (6001 if number % 4 == 0 else 6000) != amount}
        assert {number for refused_name, number in refused if refused_name == name} == different


def test_a_reader_of_outcomes(ledger: Path) -> None:
    db = sqlite3.connect(ledger)
    with db:
        db.execute(INSERTS["takings_capture"], (ORDER, "parcel-1", 6000))
        db.execute(
            "UPDATE takings_capture SET state = 'captured', due_at = NULL, settled_at = 5, capture_id = 'c', sends = 1"
        )
    with db:
        taken = db.execute("UPDATE takings_capture SET seen_at = 6 WHERE settled_at IS NOT NULL AND seen_at IS NULL")
        assert taken.rowcount == 1
    for sql in ("state = 'queued', due_at = 0, settled_at = NULL, capture_id = NULL", "capture_id = 'd'"):
        with pytest.raises(sqlite3.IntegrityError, match="captured is final"):
            db.execute(f"UPDATE takings_capture SET {sql}")
    db.close()
