"""Measures the ledger in an SQLite file: a shop's INSERTs, the worker over TLS, its end by kill -9.

`make bench` calls it, and `make bench-ledger` calls it alone. What the figures mean: README.md.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import ledgers
from ledgers import AT_ONCE, PATIENCE, Figure, Given, Programs, Worker, order, request, rows
from run import SAMPLE, server


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured."""

    parcels: int = 1_000_000
    enqueued: int = 100_000
    killed: int = 20_000
    kills: int = 5
    waiting: int = 100_000
    idle_seconds: float = 60
    backlog: int = 100_000

    def divided(self, by: int) -> Scale:
        return Scale(
            max(self.parcels // by, 10),
            max(self.enqueued // by, 10),
            max(self.killed // by, 10),
            min(self.kills, max(self.killed // by // 200, 1)),
            max(self.waiting // by, 10),
            max(self.idle_seconds / by, 1),
            max(self.backlog // by, 10),
        )


@dataclass(frozen=True)
class Place(Programs):
    """The programs, the server that plays Klarna, and a folder for ledgers."""

    folder: Path

    def ledger(self, name: str, rate: float | None = None) -> Path:
        """A new ledger; `rate` in place of the account's 180 requests a second."""
        path = self.folder / name / "ledger.db"
        path.parent.mkdir()
        init = self.command(str(path), "init", "--first-ever")
        subprocess.run(init, check=True, capture_output=True)
        if rate is not None:
            with opened(path) as db, db:
                db.execute("UPDATE takings_account SET per_second = ?1, burst = ?1", (rate,))
        return path

    def worker(self, ledger: Path, *words: str) -> AbstractContextManager[Worker]:
        return self.running(str(ledger), ledger.parent / "worker.log", *words)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The ledger as a shop opens it."""
    db = sqlite3.connect(path, timeout=60)
    db.execute("PRAGMA synchronous = FULL")
    try:
        yield db
    finally:
        db.close()


def enqueue(ledger: Path, count: int, first: int = 0, due_in: float = 0) -> tuple[float, float]:
    """Inserts rows as a shop does, each of an order of its own.

    Gives the time that it took, and the processor's.
    """
    amount, fields = json.loads(SAMPLE.read_text())["captured_amount"], request()
    due = int((time.time() + due_in) * 1000)
    # The server remembers the keys, and so the names, of all ledgers.
    name = ledger.parent.name
    sql = (
        "INSERT INTO takings_capture (order_id, reference, captured_amount, request, due_at)"
        " VALUES (?, ?, ?, ?, ?)"
    )
    with opened(ledger) as db:
        wall, cpu = time.monotonic(), time.process_time()
        for start in range(first, first + count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, first + count))
            with db:
                db.executemany(
                    sql, ((order(n), f"{name}-{n}", amount, fields, due) for n in numbers)
                )
        return time.monotonic() - wall, time.process_time() - cpu


def measured_enqueue(place: Place, scale: Scale) -> Iterator[Figure]:
    ledger = place.ledger("enqueue")
    wall, cpu = enqueue(ledger, scale.enqueued)
    yield rows(
        "INSERTs of a shop (Python's sqlite3), 1,000 a transaction", scale.enqueued, wall, cpu
    )
    sample = json.loads(SAMPLE.read_text())
    lines = place.folder / "parcels.jsonl"
    with lines.open("w") as file:
        for n in range(scale.enqueued):
            file.write(json.dumps({**sample, "order_id": order(n), "reference": f"p-{n}"}) + "\n")
    begun, spent = time.monotonic(), os.times()
    subprocess.run(
        place.command(str(place.ledger("file")), "enqueue", str(lines)),
        env=place.environment(),
        check=True,
        capture_output=True,
    )
    now = os.times()
    cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
    yield rows(
        "takings enqueue FILE: read, checked, enqueued",
        scale.enqueued,
        time.monotonic() - begun,
        cpu,
    )


@dataclass
class Moment:
    at: float
    captured: int
    worker_cpu: float
    server_cpu: float
    resident: float


@dataclass
class Part:
    """From one moment to another."""

    begin: Moment
    end: Moment
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = max(self.end.captured - self.begin.captured, 1)

    def rate(self) -> float:
        return self.count / max(self.end.at - self.begin.at, 1e-9)

    def worker_us(self) -> float:
        return (self.end.worker_cpu - self.begin.worker_cpu) / self.count * 1e6

    def server_us(self) -> float:
        return (self.end.server_cpu - self.begin.server_cpu) / self.count * 1e6


def measured_captures(place: Place, scale: Scale) -> Iterator[Figure]:
    ledger = place.ledger("captures", rate=1e9)
    enqueue(ledger, scale.parcels)
    before = place.server.captured()
    moments: list[Moment] = []
    tenth = scale.parcels // 10

    def note(captured: int) -> None:
        cpu = worker.cpu(), place.server.cpu()
        moments.append(Moment(time.monotonic(), captured - before, *cpu, worker.resident()))

    with place.worker(ledger) as worker:
        place.captured(before + scale.parcels, [worker], often=0.05, note=note)
        worker.stop()
    made = place.server.captured() - before
    with opened(ledger) as db:
        [(done, ids)] = db.execute(
            "SELECT count(*), count(DISTINCT capture_id) FROM takings_capture"
            " WHERE state = 'captured'"
        )
    size = ledger.stat().st_size / scale.parcels
    started = next(moment for moment in moments if moment.captured > 0)
    at = [started, *(next(m for m in moments if m.captured >= tenth * n) for n in range(1, 11))]
    tenths = [Part(begin, end) for begin, end in itertools.pairwise(at)]
    whole, first, last = Part(started, at[10]), tenths[0], tenths[-1]
    yield Figure(
        f"{scale.parcels:,} captures, each of an order of its own, over TLS",
        f"{whole.rate():,.0f}/s",
        "≥ 2,500/s",
        whole.rate() >= 2500,
    )
    yield Figure(
        "CPU a capture: worker with SQLite and TLS; the server",
        f"{whole.worker_us():.0f} µs; {whole.server_us():.0f} µs",
        "≤ 800 µs on two cores",
        whole.worker_us() + whole.server_us() <= 800,
    )
    yield Figure(
        "each of them captured once: rows, ids, captures of the server",
        f"{done:,}, {ids:,}, {made:,}",
        f"{scale.parcels:,} each",
        done == ids == made == scale.parcels,
    )
    yield Figure(
        f"first and last {tenth:,}",
        f"{first.rate():,.0f}/s and {last.rate():,.0f}/s; CPU of the worker in each tenth "
        # Other programs make some tenths dearer; a ledger that slows down, each.
        + " ".join(f"{part.worker_us():.0f}" for part in tenths)
        + " µs",
        "the last no slower",
        last.worker_us() <= first.worker_us() * 1.05,
    )
    yield Figure(
        "memory of the worker after a tenth, half and all",
        " ".join(f"{at[n].resident:.1f}" for n in (1, 5, 10)) + " MiB",
        "flat",
        at[10].resident <= at[1].resident * 1.1 + 2,
    )
    yield Figure("size of the ledger", f"{size:,.0f} bytes a parcel")


def measured_recovery(place: Place, scale: Scale) -> Iterator[Figure]:
    ledger = place.ledger("recovery", rate=1e9)
    enqueue(ledger, scale.killed)
    before = place.server.captured()
    part = scale.killed // (scale.kills + 1)
    times = []
    for kill in range(scale.kills):
        with place.worker(ledger) as worker:
            place.captured(before + part * (kill + 1), [worker], often=0.002)
            worker.kill()
        # Requests of the dead may still arrive.
        time.sleep(0.2)
        captured, begun = place.server.captured(), time.monotonic()
        if captured - before >= scale.killed:
            break
        with place.worker(ledger) as worker:
            place.captured(captured + 1, [worker], often=0.002)
            times.append(time.monotonic() - begun)
            worker.kill()
    # The last to be settled may be requests that the server has already counted.
    with place.worker(ledger, "--until-quiet", "1") as worker:
        worker.process.wait(PATIENCE)
    made = place.server.captured() - before
    with opened(ledger) as db:
        [(done,)] = db.execute("SELECT count(*) FROM takings_capture WHERE state = 'captured'")
    yield Figure(
        f"from the start after kill -9 to the next capture, {len(times)} times",
        f"{max(times, default=0):.2f} s at most",
        "< 1 s",
        bool(times) and max(times) < 1,
    )
    yield Figure(
        f"{scale.killed:,} parcels of {2 * scale.kills} killed workers, each once: rows, captures",
        f"{done:,}, {made:,}",
        f"{scale.killed:,} each",
        done == made == scale.killed,
    )


def measured_idle(place: Place, scale: Scale) -> Iterator[Figure]:
    empty, waiting, paused = (place.ledger(name) for name in ("empty", "waiting", "paused"))
    enqueue(waiting, scale.waiting, due_in=24 * 60 * 60)
    enqueue(paused, scale.waiting)
    subprocess.run(place.command(str(paused), "pause"), check=True, capture_output=True)
    for what, ledger in {
        "an empty ledger": empty,
        f"{scale.waiting:,} rows due tomorrow": waiting,
        f"{scale.waiting:,} rows due, and the account paused": paused,
    }.items():
        with place.worker(ledger) as worker:
            time.sleep(min(scale.idle_seconds, 3))
            begun, spent = time.monotonic(), worker.cpu()
            time.sleep(scale.idle_seconds)
            share = (worker.cpu() - spent) / (time.monotonic() - begun)
        yield Figure(
            f"a worker with nothing to do: {what}",
            f"{share:.2%} of a core",
            "< 0.5 %",
            share < 0.005,
        )


def measured_backlog(place: Place, scale: Scale) -> Iterator[Figure]:
    ledger = place.ledger("backlog")
    enqueue(ledger, scale.backlog)
    before, begun = place.server.captured(), time.monotonic()
    with place.worker(ledger) as worker:
        place.captured(before + scale.backlog, [worker], often=0.05)
        took, cpu = time.monotonic() - begun, worker.cpu()
    most = 15 * 60 * scale.backlog / 100_000
    yield Figure(
        f"{scale.backlog:,} rows that are due, at the account's 180/s",
        f"{took:,.0f} s, {scale.backlog / took:.0f}/s, {cpu / took:.1%} of a core",
        f"≤ {most:,.0f} s (100,000 in 15 min)",
        took <= most,
    )


MEASURES: dict[str, Callable[[Place, Scale], Iterator[Figure]]] = {
    "enqueue": measured_enqueue,
    "captures": measured_captures,
    "recovery": measured_recovery,
    "idle": measured_idle,
    "backlog": measured_backlog,
}


def measure(place: Place, scale: Scale, only: str) -> list[Figure]:
    return ledgers.measure(MEASURES, place, scale, only)


@contextlib.contextmanager
def place(programs: Path, folder: Path, hands: int) -> Iterator[Place]:
    """A place on two cores, whose ledgers are gone afterwards. They must lie on a disk."""
    with (
        tempfile.TemporaryDirectory(prefix="ledger-", dir=folder) as directory,
        server(programs / "bench-server") as running,
    ):
        yield Place(programs / "takings", running, hands, Path(directory))


def main() -> None:
    given = Given(__doc__, "ledger", MEASURES)
    scale = Scale().divided(given.divisor)
    with place(given.programs, given.out, given.hands) as at:
        figures = measure(at, scale, given.only)
    given.write("the ledger in an SQLite file", vars(scale), figures)


if __name__ == "__main__":
    main()
