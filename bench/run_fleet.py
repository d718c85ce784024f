"""Measures the ledger in PostgreSQL: INSERTs, two workers, twenty with one rate, an old snapshot.

`make bench` calls it, and `make bench-fleet` calls it alone. What the figures mean: README.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import ledgers
from ledgers import AT_ONCE, Figure, Given, Programs, Worker, order, request, rows
from run import ROOT, SAMPLE, server

sys.path += [str(ROOT / "tests" / folder) for folder in ("process", "ledger", "fleet")]

from postgres import Cluster

NO_LIMIT = 1e9
WINDOW = 200
"""The requests that Klarna takes in a second."""


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured."""

    parcels: int = 1_000_000
    enqueued: int = 100_000
    workers: int = 20
    shared_seconds: float = 60
    idle_seconds: float = 60
    # Dead rows that an hour at 180/s leaves behind.
    dead: int = 648_000
    held_seconds: float = 30

    def divided(self, by: int) -> Scale:
        return Scale(
            max(self.parcels // by, 10),
            max(self.enqueued // by, 10),
            self.workers,
            max(self.shared_seconds / by, 1),
            max(self.idle_seconds / by, 1),
            max(self.dead // by, 10),
            max(self.held_seconds / by, 2),
        )


@dataclass(frozen=True)
class Spent:
    """What the database has spent so far, and the captures that the server has made."""

    at: float
    captured: int
    cpu: float
    commits: int
    wal: int


@dataclass(frozen=True)
class Part:
    """From one moment to another."""

    begin: Spent
    end: Spent

    def count(self) -> int:
        return max(self.end.captured - self.begin.captured, 1)

    def seconds(self) -> float:
        return max(self.end.at - self.begin.at, 1e-9)

    def rate(self) -> float:
        return self.count() / self.seconds()

    def cpu_us(self) -> float:
        return (self.end.cpu - self.begin.cpu) / self.count() * 1e6

    def commits(self) -> float:
        return (self.end.commits - self.begin.commits) / self.count()

    def wal(self) -> float:
        return (self.end.wal - self.begin.wal) / self.count()


@dataclass(frozen=True)
class Fleet(Programs):
    """The programs, the server that plays Klarna, and the database."""

    cluster: Cluster
    logs: Path

    def ledger(self, name: str, rate: float | None = None) -> str:
        """A new database with a ledger; `rate` in place of the account's own."""
        self.cluster.ask(f"CREATE DATABASE {name}")
        init = self.command(self.cluster.url(name), "init", "--first-ever")
        subprocess.run(init, check=True, capture_output=True)
        self.cluster.ask("CREATE EXTENSION pg_stat_statements", name)
        if rate is not None:
            self.limit(name, rate)
        return name

    def limit(self, database: str, rate: float) -> None:
        sets = f"per_second = {rate}, burst = {rate / 12}, tokens = 0"
        self.cluster.ask(f"UPDATE takings_account SET {sets}", database)

    def enqueue(
        self, database: str, count: int, first: int = 0, how: Literal["one", "each", "copy"] = "one"
    ) -> float:
        """Inserts rows as a shop does, each of an order of its own. Gives the time that it took.

        A transaction has a statement, a statement for each row, or a COPY.
        """
        amount, fields = json.loads(SAMPLE.read_text())["captured_amount"], request()
        into = "takings_capture (order_id, reference, captured_amount, request)"
        insert, copy = f"INSERT INTO {into}", f"COPY {into} FROM STDIN"
        of_arrays = (
            " SELECT * FROM unnest(%s::text[], %s::text[], %s::numeric[], %s::text[])"
            " AS parcel (order_id, reference, captured_amount, request)"
        )
        with self.cluster.connection(database) as db, db.cursor() as cursor:
            begun = time.monotonic()
            for start in range(first, first + count, AT_ONCE):
                numbers = range(start, min(start + AT_ONCE, first + count))
                # The server remembers the keys, and so the names, of all ledgers.
                part = [(order(n), f"{database}-{n}", amount, fields) for n in numbers]
                with db.transaction():
                    if how == "copy":
                        with cursor.copy(copy) as sink:
                            for row in part:
                                sink.write_row(row)
                    elif how == "each":
                        cursor.executemany(f"{insert} VALUES (%s, %s, %s, %s)", part)
                    else:
                        columns = [list(column) for column in zip(*part, strict=True)]
                        cursor.execute(insert + of_arrays, columns)
            return time.monotonic() - begun

    def worker(self, database: str, *words: str) -> AbstractContextManager[Worker]:
        return self.running(self.cluster.url(database), self.logs / f"{database}.log", *words)

    def spent(self) -> Spent:
        # Of all databases: the bench works on one at a time.
        [(commits, wal)] = self.cluster.ask(
            "SELECT sum(xact_commit)::bigint, (pg_current_wal_lsn() - '0/0')::bigint"
            " FROM pg_stat_database"
        )
        return Spent(time.monotonic(), self.server.captured(), self.cpu(), commits, wal)

    def cpu(self) -> float:
        """Seconds of processor time of the database's processes, also of those that ended."""
        first, ticks = self.cluster.process(), 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                if int(process.name) == first:
                    ticks += sum(int(field) for field in fields[11:15])
                elif int(fields[1]) == first:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def forget_statements(self, database: str) -> None:
        self.cluster.ask("SELECT pg_stat_statements_reset()", database)

    def statements(self, database: str) -> list[tuple[str, int, float, float]]:
        """The workers' statements, how often each ran, and its mean and longest time in ms."""
        found = self.cluster.ask(
            "SELECT query, calls, mean_exec_time, max_exec_time FROM pg_stat_statements s"
            " JOIN pg_database d ON d.oid = s.dbid WHERE datname = current_database()"
            " AND query NOT LIKE '%pg_stat_statements%' ORDER BY total_exec_time DESC",
            database,
        )
        return [
            (str(query), int(calls), float(mean), float(most)) for query, calls, mean, most in found
        ]

    def work_off(self, database: str, count: int) -> list[Spent]:
        """Two workers capture so many rows. Gives the moments at which a tenth more was done."""
        before = self.server.captured()
        moments: list[Spent] = []

        def note(captured: int) -> None:
            while captured > before and captured - before >= count // 10 * len(moments):
                moments.append(self.spent())

        with self.worker(database) as one, self.worker(database) as two:
            self.captured(before + count, [one, two], note=note)
            one.stop()
            two.stop()
        return moments


def measured_enqueue(fleet: Fleet, scale: Scale) -> Iterator[Figure]:
    ways: dict[Literal["one", "each", "copy"], str] = {
        "one": "a statement",
        "each": "executemany of a statement each",
        "copy": "a COPY",
    }
    for how, what in ways.items():
        database = fleet.ledger(f"enqueue_{how}")
        cpu = fleet.cpu()
        wall = fleet.enqueue(database, scale.enqueued, how=how)
        yield rows(
            f"INSERTs of a shop (psycopg), 1,000 a transaction, {what}",
            scale.enqueued,
            wall,
            fleet.cpu() - cpu,
        )


def measured_captures(fleet: Fleet, scale: Scale) -> Iterator[Figure]:
    database = fleet.ledger("captures", rate=NO_LIMIT)
    fleet.enqueue(database, scale.parcels)
    before = fleet.server.captured()
    begun = time.monotonic()
    moments = fleet.work_off(database, scale.parcels)
    took = time.monotonic() - begun
    made = fleet.server.captured() - before
    [(done, ids)] = fleet.cluster.ask(
        "SELECT count(*), count(DISTINCT capture_id) FROM takings_capture WHERE state = 'captured'",
        database,
    )
    tenth = scale.parcels // 10
    whole = Part(moments[0], moments[10])
    first, last = Part(moments[0], moments[1]), Part(moments[9], moments[10])
    yield Figure(
        f"{scale.parcels:,} captures by two workers, each of an order of its own, over TLS",
        f"{whole.rate():,.0f}/s",
        "≥ 3,000/s",
        whole.rate() >= 3000,
    )
    most = 7 * 60 * scale.parcels / 1_000_000
    yield Figure(
        "from the start of the workers to their end",
        f"{took:,.0f} s",
        f"≤ {most:,.0f} s (1,000,000 in 7 min)",
        took <= most,
    )
    yield Figure(
        "each of them captured once: rows, ids, captures of the server",
        f"{done:,}, {ids:,}, {made:,}",
        f"{scale.parcels:,} each",
        done == ids == made == scale.parcels,
    )
    yield Figure(
        f"first and last {tenth:,}",
        f"{first.rate():,.0f}/s and {last.rate():,.0f}/s; CPU of PostgreSQL"
        f" {first.cpu_us():.0f} and {last.cpu_us():.0f} µs",
        "the last no slower",
        last.cpu_us() <= first.cpu_us() * 1.05,
    )
    yield Figure(
        "CPU of PostgreSQL a capture",
        f"{whole.cpu_us():.0f} µs",
        "≤ 100 µs",
        whole.cpu_us() <= 100,
    )
    yield Figure("commits a capture", f"{whole.commits():.3f}", "≤ 0.05", whole.commits() <= 0.05)
    yield Figure("WAL a capture", f"{whole.wal():,.0f} bytes", "≤ 1,300 bytes", whole.wal() <= 1300)
    [(size,)] = fleet.cluster.ask(
        "SELECT pg_total_relation_size('takings_capture')::bigint", database
    )
    yield Figure("size of the ledger", f"{size / scale.parcels:,.0f} bytes a parcel")


def measured_rate(fleet: Fleet, scale: Scale) -> Iterator[Figure]:
    database = fleet.ledger("rate")
    seconds = scale.shared_seconds
    fleet.enqueue(database, int(180 * (seconds + 60)))
    [(per_second,)] = fleet.cluster.ask("SELECT per_second FROM takings_account", database)
    before = fleet.server.captured()
    seen: deque[tuple[float, int]] = deque()
    most, since = 0, time.monotonic()

    def note(captured: int) -> None:
        nonlocal most
        seen.append((time.monotonic(), captured))
        while seen[-1][0] - seen[0][0] > 1:
            seen.popleft()
        most = max(most, captured - seen[0][1])

    few = replace(fleet, hands=8)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(few.worker(database)) for _ in range(scale.workers)]
        # Not all have begun before. The burst of the first second counts for the window alone.
        few.captured(before + int(2 * per_second), workers, often=0.01, note=note)
        (since, start) = seen[-1]
        few.captured(start + int(per_second * seconds), workers, often=0.01, note=note)
        (until, end) = seen[-1]
    rate = (end - start) / (until - since)
    yield Figure(
        f"{scale.workers} workers share {per_second:.0f}/s, over {until - since:.0f} s",
        f"{rate:.1f}/s",
        "within 2 %",
        abs(rate / per_second - 1) <= 0.02,
    )
    yield Figure(
        "most captures of a second, from the first on",
        str(most),
        f"≤ {WINDOW}, Klarna's window",
        most <= WINDOW,
    )


def measured_idle(fleet: Fleet, scale: Scale) -> Iterator[Figure]:
    database = fleet.ledger("idle")
    with fleet.worker(database) as worker:
        time.sleep(min(scale.idle_seconds, 3))
        fleet.forget_statements(database)
        begun, spent = time.monotonic(), worker.cpu()
        time.sleep(scale.idle_seconds)
        took, cpu = time.monotonic() - begun, worker.cpu() - spent
        count = sum(calls for _, calls, *_ in fleet.statements(database))
    yield Figure(
        "statements of an idle worker", f"{count / took:.2f}/s", "≤ 2/s", count / took <= 2
    )
    yield Figure(
        "CPU of an idle worker", f"{cpu / took:.2%} of a core", "< 0.5 %", cpu / took < 0.005
    )


def measured_snapshot(fleet: Fleet, scale: Scale) -> Iterator[Figure]:
    """Claims while an old snapshot keeps every dead version of a row."""
    database = fleet.ledger("snapshot", rate=NO_LIMIT)
    fleet.enqueue(database, scale.dead)
    with fleet.cluster.connection(database) as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM takings_account")
        fleet.work_off(database, scale.dead)
        fleet.limit(database, 180)
        rest = int(180 * scale.held_seconds)
        fleet.enqueue(database, rest, first=scale.dead)
        before = fleet.server.captured()
        fleet.forget_statements(database)
        with fleet.worker(database) as worker:
            fleet.captured(before + rest, [worker])
            worker.stop()
        found = fleet.statements(database)
        holder.execute("ROLLBACK")
    for query, calls, mean, most in found:
        line = f"{calls:6} x {mean:8.3f} ms, at most {most:8.2f}  {' '.join(query.split())[:90]}"
        print(line, file=sys.stderr)
    # A commit waits for the disk, and the dead versions have no part in that.
    claims = [row for row in found if "SKIP LOCKED" in row[0] or "EXISTS" in row[0]]
    looks = [row for row in found if "UNION ALL" in row[0]]
    yield Figure(
        f"a claim's search at 180/s, {scale.dead:,} captures after a snapshot that is held",
        f"{sum(mean for _, _, mean, _ in claims):.2f} ms,"
        f" at most {max(most for *_, most in claims):.1f} ms",
        "< 20 ms",
        max(most for *_, most in claims) < 20,
    )
    yield Figure(
        "looks behind the claims, without a lock: the first of a worker, others beside the claims",
        ", ".join(f"{calls} of {mean:.0f} ms" for _, calls, mean, _ in looks),
    )


MEASURES: dict[str, Callable[[Fleet, Scale], Iterator[Figure]]] = {
    "enqueue": measured_enqueue,
    "captures": measured_captures,
    "rate": measured_rate,
    "idle": measured_idle,
    "snapshot": measured_snapshot,
}


def measure(fleet: Fleet, scale: Scale, only: str) -> list[Figure]:
    return ledgers.measure(MEASURES, fleet, scale, only)


@contextlib.contextmanager
def fleet(programs: Path, hands: int) -> Iterator[Fleet]:
    """A database that writes to its disk before it answers, and the programs."""
    with (
        tempfile.TemporaryDirectory(prefix="takings-fleet-") as logs,
        Cluster(
            fsync="on",
            shared_preload_libraries="pg_stat_statements",
            # docs/ledger/fleet.md: the log repeats pages that are written behind a checkpoint.
            max_wal_size="16GB",
            checkpoint_timeout="30min",
            wal_compression="on",
        ) as cluster,
        server(programs / "bench-server") as running,
    ):
        yield Fleet(programs / "takings", running, hands, cluster, Path(logs))


def main() -> None:
    # A claim and the ends of its captures are a transaction each: more hands, fewer transactions.
    given = Given(__doc__, "fleet", MEASURES, hands=256)
    scale = Scale().divided(given.divisor)
    with fleet(given.programs, given.hands) as at:
        [(version,)] = at.cluster.ask("SHOW server_version")
        figures = measure(at, scale, given.only)
    given.write(f"the ledger in PostgreSQL {version}", vars(scale), figures)


if __name__ == "__main__":
    main()
