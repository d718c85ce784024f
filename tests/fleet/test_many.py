"""Many workers, other settings of the database, something between, and workers of two versions."""

from __future__ import annotations

import concurrent.futures
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fleet import SOAK, Fleet
from postgres import Cluster, free_port, user
from shop import Row
from support import Program, until
from traffic import Traffic

WORKERS = 20


@pytest.fixture
def bouncer(tmp_path: Path, fleet: Fleet) -> Iterator[Fleet]:
    """All programs reach the ledger through PgBouncer, which gives a connection to each
    transaction."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    assert Path(program).exists(), "PgBouncer is missing: `make setup` installs pgbouncer"
    folder, port = fleet.cluster.folder, free_port()
    settings = folder / f"pgbouncer-{port}.ini"
    settings.write_text(
        f"""[databases]
* = host={folder} user=owner
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""
    )
    settings.chmod(0o644)
    with Program(program, *_as_user(), settings, server=True) as server:
        path = folder / f".s.PGSQL.{port}"
        until(path.exists, what="PgBouncer listens")
        fleet.environment["TAKINGS_LEDGER"] = fleet.url.replace(
            f"/{fleet.database}", f":{port}/{fleet.database}"
        )
        yield fleet
        assert server.process.poll() is None


def _as_user() -> list[str]:
    return ["--user=postgres"] if user() else []


def test_behind_pgbouncer(bouncer: Fleet) -> None:
    traffic = Traffic(bouncer, 4, first_ever=True)
    with bouncer.workers(3):
        for _ in range(10):
            traffic.receive()
            bouncer.hurry()
        bouncer.captured(100, hurried=True)
    traffic.judge()
    # A command of each kind.
    bouncer.run("status")
    bouncer.run("enqueue", "--order", bouncer.sandbox.order(), "--reference", "p", "--amount", "1")


def test_a_serializable_shop(fleet: Fleet) -> None:
    """Its transactions may have to be run again, and only its own."""
    fleet.cluster.ask(
        f"ALTER DATABASE {fleet.database} SET default_transaction_isolation = 'serializable'"
    )
    rows = fleet.parcels(400)

    def insert(part: list[Row]) -> None:
        for row in part:
            while True:
                try:
                    fleet.enqueue("capture", [row])
                    break
                except psycopg.errors.SerializationFailure:
                    pass

    with fleet.workers(2), concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, [rows[place::4] for place in range(4)]))
        fleet.captured(len(rows))
    assert fleet.posts() == len(rows)
    fleet.is_right(len(rows))


def test_twenty_workers_keep_the_rate(tmp_path: Path, cluster: Cluster) -> None:
    """Klarna's limit is one for all of them: none of their requests is refused for it."""
    rate, burst, seconds = 60, 15, 60 if SOAK else 8
    limit = ("--rate-limit", str(rate + burst))
    with Fleet(tmp_path, cluster, flags=limit) as fleet:
        rows = fleet.parcels(rate * seconds)
        fleet.run("account", "rate", "default", "--per-second", str(rate), "--burst", str(burst))
        with fleet.workers(WORKERS, "--hands", "4"):
            [(before,)] = fleet.sql("SELECT clock_timestamp()")
            fleet.enqueue("capture", rows)
            fleet.captured(len(rows), within=20 * seconds)
            [(after,)] = fleet.sql("SELECT clock_timestamp()")
        assert len(rows) <= burst + rate * (after - before).total_seconds()
        assert fleet.posts() == len(rows)
        fleet.is_right(len(rows))


def test_workers_of_two_versions(fleet: Fleet) -> None:
    """New tables may let an older worker go on, beside the new. Once they do not, it ends."""
    rows = fleet.parcels(60)
    with fleet.worker(0) as old:
        until(fleet.has_begun(0), within=60, what="a worker has begun")
        fleet.sql("UPDATE takings_ledger SET version = version + 1")
        with fleet.workers(1):
            fleet.enqueue("capture", rows[:40])
            fleet.captured(40)
        fleet.sql("UPDATE takings_ledger SET oldest_worker = version")
        fleet.enqueue("capture", rows[40:])
        assert old.process.wait(timeout=60) == 1
        assert "use a newer" in fleet.said("worker-0")
        assert "use a newer" in fleet.fails("worker")
    assert fleet.count("state = 'queued'") == 20
    fleet.sql("UPDATE takings_ledger SET oldest_worker = 1")
    fleet.work_off()
    fleet.is_right(60)
