"""A shop whose ledger is in PostgreSQL, and its fleet of workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from postgres import Cluster
from shop import Row, Shop
from support import Program, until

# How much longer `make soak-fleet` makes the tests.
SOAK = int(os.environ.get("TAKINGS_SOAK_FLEET", "0"))
# How long a worker has a row.
LEASE = 180


class Fleet(Shop):
    value = "%s"
    epoch = "'epoch'"

    def __init__(
        self, folder: Path, cluster: Cluster, *others: Cluster, flags: Iterable[str] = ()
    ) -> None:
        """`others`: servers to which the database may move."""
        self.cluster = cluster
        self.database = cluster.database()
        # The shop's own way to the ledger: a test may give its workers another.
        self.url = cluster.url(self.database, *others)
        super().__init__(folder, place=self.url, flags=flags)

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Any]:
        """The ledger as the shop's own driver sees it. What is done in it is one transaction."""
        with psycopg.connect(self.url) as connection:
            yield connection

    def worker(self, number: int, *words: str, **environment: str) -> Program:
        return self.start("worker", *words, name=f"worker-{number}", **environment)

    @contextlib.contextmanager
    def workers(self, count: int, *words: str, **environment: str) -> Iterator[list[Program]]:
        """Workers, of which each must end well when it is told to."""
        with contextlib.ExitStack() as ends:
            programs = [
                ends.enter_context(self.worker(number, *words, **environment))
                for number in range(count)
            ]
            for number in range(count):
                until(self.has_begun(number), within=60, what=f"worker {number} has begun")
            yield programs
            for program in programs:
                program.process.terminate()
            for number, program in enumerate(programs):
                code = program.process.wait(timeout=120)
                assert code == 0, self.said(f"worker-{number}")

    def has_begun(self, number: int) -> Any:
        return lambda: "worker of" in self.said(f"worker-{number}")

    def has_said(self, words: str, number: int = 0) -> None:
        until(
            lambda: words in self.said(f"worker-{number}"), within=90, what=f"a worker says {words}"
        )

    def captured(self, count: int, within: float = 120, hurried: bool = False) -> None:
        """Waits for so many captures in the ledger; `hurried`: whatever pauses there are."""

        def are_captured() -> bool:
            if hurried:
                self.hurry()
            return self.count("state = 'captured'") >= count

        until(are_captured, within=within, what=f"{count} are captured")

    def end_leases(self) -> None:
        """The leases of workers that are gone are over."""
        for kind in ("capture", "refund"):
            self.sql(f"UPDATE takings_{kind} SET due_at = 'epoch' WHERE state = 'sending'")

    def work(self) -> None:
        """A worker that has the ledger for itself, and ends once nothing is due."""
        self.end_leases()
        super().work()

    def parcels(self, count: int, *faults: dict[str, Any], reference: str = "p") -> list[Row]:
        """A parcel of each of so many new orders, whose requests meet these faults."""
        return [(order, reference, 100) for order in self.orders([list(faults)] * count)]

    def enqueue_missing(self, rows: list[Row]) -> None:
        """What a shop does after its database was restored: all of it again."""
        self.enqueue("capture", rows)
