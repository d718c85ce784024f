"""A shop with a ledger in a folder of its own, and a sandbox that no other shop uses."""

from __future__ import annotations

import contextlib
import http.client
import json
import mmap
import os
import sqlite3
import struct
import subprocess
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from support import BUILT, ENVIRONMENT, Program, Sandbox, built, preloaded, until
from typing_extensions import Self

HERE = Path(__file__).resolve().parent
# How much longer `make soak-ledger` makes the tests.
SOAK = int(os.environ.get("TAKINGS_SOAK_LEDGER", "0"))
CREDENTIALS = {"KLARNA_USERNAME": "sandbox", "KLARNA_PASSWORD": "sandbox"}
IDENTIFIERS = {"capture": "captured_amount", "refund": "refunded_amount"}
DAY = 24 * 60 * 60

Row = tuple[str, str, int]


class Machine:
    """A disk and clocks that go wrong for the programs of a shop while they run: c/machine.c."""

    DISKS = ("well", "full", "broken", "unsynced", "short", "torn")

    def __init__(self, folder: Path, ledger: Path) -> None:
        page = folder / "machine"
        page.write_bytes(bytes(32))
        with page.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), 32)
        self.environment = {
            **preloaded(HERE / "c" / "machine.c", folder),
            "MACHINE": str(page),
            "LEDGER": str(ledger),
        }

    def set(self, field: int, value: int) -> None:
        struct.pack_into("q", self.page, 8 * field, value)

    def disk(self, name: str) -> None:
        self.set(0, self.DISKS.index(name))

    def clock(self, ahead: int, since_boot: int = 0) -> None:
        """Seconds by which the time of the day, and the time since boot, are ahead."""
        self.set(1, 1000 * ahead)
        self.set(2, 1000 * since_boot)

    def stop_at_next_claim(self) -> None:
        self.set(3, 1)


class Shop:
    # What differs between engines: the place of a value in a statement, and the first of all times.
    value = "?"
    epoch = "0"

    def __init__(
        self,
        folder: Path,
        *,
        first_ever: bool = True,
        place: str = "",
        flags: Iterable[str] = (),
    ) -> None:
        """`place`: of the ledger, where it is no file; `flags`: of the sandbox."""
        self.folder = folder
        self.path = folder / "ledger.db"
        self.sandbox = Sandbox(*flags)
        self.environment = {
            **CREDENTIALS,
            "KLARNA_BASE_URL": self.sandbox.url,
            "TAKINGS_LEDGER": place or str(self.path),
        }
        self.run("init", *(["--first-ever"] if first_ever else []))
        self.quicken()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.__exit__()

    def machine(self) -> Machine:
        """From now on the programs of this shop run on it."""
        machine = Machine(self.folder, self.path)
        self.environment |= machine.environment
        return machine

    def start(
        self,
        *words: str | Path,
        before: Iterable[str] = (),
        name: str = "stderr",
        **environment: str,
    ) -> Program:
        """A program that its test ends. Its standard error goes to a file of this name."""
        with (self.folder / name).open("wb") as stderr:
            program = built(BUILT / "takings")
            environment = self.environment | environment
            command = (*before, program, *words)
            # A worker waits for its ledger for ever: it must not outlive tests that are killed.
            return Program(*command, environment=environment, stderr=stderr, server=True)

    def said(self, name: str = "stderr") -> str:
        """The words on standard error of the program that was started last by this name."""
        return (self.folder / name).read_text()

    def stop(self, worker: Program) -> None:
        """Ends a worker as a person does, once it heeds signals."""
        until(lambda: "worker of" in self.said(), what="the worker has begun")
        worker.process.terminate()
        worker.end()

    def run(self, *words: str | Path, code: int = 0, within: float = 300) -> str:
        """Runs a command that must end with this code. Gives its standard output."""
        command = [str(word) for word in (built(BUILT / "takings"), *words)]
        ended = subprocess.run(
            command,
            env={**ENVIRONMENT, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
        )
        assert ended.returncode == code, f"{command}: {ended.returncode}\n{ended.stderr}"
        return ended.stdout

    def fails(self, *words: str | Path) -> str:
        """Runs a command that must do nothing. Gives the reason."""
        told = json.loads(self.run(*words, "--json", code=1))
        return str(told["error"])

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Any]:
        """The ledger as the shop's own SQLite sees it. What is done in it is one transaction."""
        db = sqlite3.connect(self.path, timeout=60)
        try:
            with db:
                yield db
        finally:
            db.close()

    def sql(self, statement: str, *values: object) -> list[Any]:
        with self.ledger() as db:
            told = db.execute(statement.replace("?", self.value), values)
            return told.fetchall() if told.description else []

    def quicken(self) -> None:
        """No rate limit: the sandbox can bear it."""
        self.sql("UPDATE takings_account SET per_second = 100000, burst = 100000")

    def orders(self, faults: Iterable[list[dict[str, Any]]], amount: int = 1_000_000) -> list[str]:
        """Orders over one connection, each with its faults."""
        where = urllib.parse.urlsplit(self.sandbox.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        made = []
        for of_order in faults:
            body = json.dumps({"order_amount": amount, "faults": of_order})
            connection.request("POST", "/sandbox/orders", body)
            answer = json.loads(connection.getresponse().read())
            made.append(str(answer["order_id"]))
        connection.close()
        return made

    def enqueue(self, kind: str, rows: Iterable[Row]) -> None:
        """Inserts rows as a shop does: over its own SQLite, in one transaction."""
        values = ", ".join([self.value] * 3)
        with self.ledger() as db:
            db.cursor().executemany(
                f"INSERT INTO takings_{kind} (order_id, reference, {IDENTIFIERS[kind]}) "
                f"VALUES ({values})",
                rows,
            )

    def count(self, where: str = "true", kind: str = "capture") -> int:
        return int(self.sql(f"SELECT count(*) FROM takings_{kind} WHERE {where}")[0][0])

    def state(self, reference: str) -> str:
        return str(
            self.sql("SELECT state FROM takings_capture WHERE reference = ?", reference)[0][0]
        )

    def hurry(self) -> None:
        """All that waits for a later try is due at once, as if hours had passed."""
        with self.ledger() as db:
            for kind in IDENTIFIERS:
                db.execute(
                    f"UPDATE takings_{kind} SET due_at = {self.epoch} "
                    "WHERE due_at IS NOT NULL AND state <> 'sending'"
                )
            db.execute(
                f"UPDATE takings_account SET trouble = 0, paused_until = {self.epoch}, "
                "paused_why = NULL, alert_at = NULL"
            )

    def work(self) -> None:
        """A worker that ends once nothing is due."""
        self.run("worker", "--until-quiet", "0")

    def work_off(self, rounds: int = 12) -> None:
        """Works until every row is settled. Each round may end at a pause of the account, so only
        rounds in a row that settle none are a fault."""
        left, idle = self.is_open(), 0
        while idle < rounds:
            self.hurry()
            self.work()
            before, left = left, self.is_open()
            if not left:
                return
            idle = 0 if left < before else idle + 1
        rows = self.sql("SELECT * FROM takings_capture WHERE due_at IS NOT NULL LIMIT 3")
        raise AssertionError(f"{left} rows are open after {rounds} rounds without an end: {rows}")

    def is_open(self) -> int:
        return sum(self.count("due_at IS NOT NULL", kind) for kind in IDENTIFIERS)

    def audit(self, code: int = 0) -> dict[str, Any]:
        """The verdicts of `takings audit`; the sandbox's own judge must have nothing to say."""
        audit: dict[str, Any] = json.loads(self.run("audit", "--json", code=code))
        assert self.sandbox.control("/audit") == [], audit
        return audit

    def is_right(self, ok: int) -> None:
        """So many rows, all as the sandbox has them."""
        audit = self.audit()
        assert (audit["counts"]["ok"], audit["found"]) == (ok, [])

    def posts(self) -> int:
        """How many writes came to the sandbox."""
        return sum(request["method"] == "POST" for request in self.sandbox.requests())

    def sent(self) -> int:
        """How many requests came to the sandbox."""
        return len(self.sandbox.requests())


def stopped(program: Program) -> None:
    """Waits until it waits for SIGCONT."""
    stat = Path(f"/proc/{program.process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="it stops")


def integrity(path: Path) -> str:
    """The word of SQLite's own check."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])
