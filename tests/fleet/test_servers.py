"""Databases that crash, move to another server, forget an hour, or have no room."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fleet import SOAK, Fleet
from postgres import Cluster, user
from shop import DAY, Row
from support import until
from traffic import Traffic

CRASHES = 20 if SOAK else 2
SLOW = {"fault": "delay", "seconds": 6, "when": "after_commit"}
ROWS = 120


@pytest.fixture
def crashing(tmp_path: Path, own: Cluster) -> Iterator[Fleet]:
    with Fleet(tmp_path, own) as fleet:
        yield fleet


def test_crashes_in_mid_flight(crashing: Fleet) -> None:
    """The server loses what it did not sync. Its workers come back by themselves."""
    chance = random.Random(3)
    traffic = Traffic(crashing, 3, first_ever=True)
    with crashing.workers(3):
        for _ in range(CRASHES):
            for _ in range(4):
                traffic.receive()
            crashing.hurry()
            time.sleep(chance.uniform(0, 0.6))
            crashing.cluster.stop("immediate")
            crashing.cluster.start()
        # None of them was started anew, and each ends well.
        before = crashing.count("state = 'captured'")
        traffic.receive()
        crashing.captured(before + 1, hurried=True)
    traffic.judge()


def test_a_standby_takes_over(tmp_path: Path, own: Cluster) -> None:
    """The standby lacks the last rows, which are captured or under way. Rows that come after have
    their numbers, and the late answers must not be booked on those."""
    with Cluster(of=own, fsync="on") as standby, Fleet(tmp_path, own, standby) as fleet:
        old = fleet.parcels(20)
        fleet.enqueue("capture", old)
        # All hands are busy with what is lost when the new rows come.
        with fleet.workers(2, "--hands", str(ROWS // 2)):
            fleet.captured(20)
            replayed = "SELECT pg_last_wal_replay_lsn() >= '{}'".format(
                own.ask("SELECT pg_current_wal_lsn()")[0][0]
            )
            until(lambda: standby.ask(replayed)[0][0], what="the standby has it all")
            standby.setting("primary_conninfo", "")
            standby.ask("SELECT pg_reload_conf()")
            receiver = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walreceiver'"
            until(lambda: not standby.ask(receiver), what="the standby hears no more")
            lost = fleet.parcels(ROWS + 20, SLOW)
            fleet.enqueue("capture", lost)
            new = fleet.parcels(ROWS + 20)
            until(lambda: len(fleet.sandbox.ledger()) == 20 + ROWS, what="each hand has one")
            own.kill()
            standby.promote()
            fleet.enqueue("capture", new)
            assert fleet.count() == 20 + len(new), "the standby lacked rows"
            fleet.captured(20 + len(new))
            fleet.sandbox.control("/clock", {"advance_seconds": 2 * DAY})
            fleet.enqueue_missing(lost[::-1])
            fleet.hurry()
            fleet.captured(20 + len(new) + len(lost))
        fleet.is_right(20 + len(new) + len(lost))


@pytest.mark.parametrize("how", ["a base backup", "files, and a person says so"])
def test_a_restored_database(tmp_path: Path, own: Cluster, how: str) -> None:
    """An hour is lost, in which rows were captured. All are enqueued again, days later."""
    with Fleet(tmp_path, own) as fleet:
        rows = fleet.parcels(40)
        backup = own.folder / "backup"
        fleet.enqueue("capture", rows[:20])
        with fleet.workers(2):
            if how == "a base backup":
                _base_backup(own, backup)
            fleet.captured(20)
        if how != "a base backup":
            own.stop("fast")
            shutil.copytree(own.data, backup)
            own.start()
        fleet.enqueue("capture", rows[20:])
        with fleet.workers(2):
            fleet.captured(40)
        own.kill()
        shutil.rmtree(own.data)
        shutil.move(backup, own.data)
        if user():
            shutil.chown(own.data, user()["user"], user()["group"])
            for path in own.data.rglob("*"):
                shutil.chown(path, user()["user"], user()["group"])
        if how == "a base backup":
            # Recovery to the end of the backup begins another timeline, by which it is known.
            (own.data / "recovery.signal").touch()
            own.setting("restore_command", "false")
            own.setting("recovery_target", "immediate")
            own.setting("recovery_target_action", "promote")
        own.start()
        until(lambda: own.ask("SELECT pg_is_in_recovery()") == [(False,)], what="it is writable")
        if how != "a base backup":
            fleet.run("restored")
        fleet.sandbox.control("/clock", {"advance_seconds": 2 * DAY})
        fleet.enqueue_missing(rows)
        with fleet.workers(2):
            fleet.hurry()
            fleet.end_leases()
            fleet.captured(40)
        fleet.is_right(40)


def _base_backup(own: Cluster, backup: Path) -> None:
    how = ["--checkpoint=fast", "--no-sync", "--wal-method=stream", "--username=owner"]
    own.run("pg_basebackup", *how, f"--pgdata={backup}", f"--host={own.folder}")


def test_no_room_for_the_tables(tmp_path: Path) -> None:
    """Nothing is sent that cannot be remembered. The workers say so, and go on by themselves."""
    slow = {**SLOW, "seconds": 12}
    with Cluster() as cluster:
        machine = cluster.machine(cluster.data / "base")
        with Fleet(tmp_path, cluster) as fleet:
            late = fleet.parcels(60, slow)
            rest = [(row[0], f"p-{n}", 100) for row in fleet.parcels(20) for n in range(200)]
            fleet.enqueue("capture", late)
            with fleet.workers(2), _snapshot(fleet):
                until(lambda: len(fleet.sandbox.ledger()) == 60, what="60 are under way")
                fleet.sql("UPDATE takings_account SET paused_until = 'infinity'")
                machine.disk("full")
                rows = 60 + _fill(fleet, rest)
                until(
                    lambda: any("cannot be written" in fleet.said(f"worker-{n}") for n in (0, 1)),
                    within=90,
                    what="a worker says so",
                )
                machine.disk("well")
                fleet.captured(60)
                assert fleet.posts() == 60
                fleet.hurry()
                fleet.enqueue("capture", rest[rows - 60 :][:200])
                rows += 200
                fleet.captured(rows)
            fleet.is_right(rows)


def _fill(fleet: Fleet, rows: list[Row]) -> int:
    """Enqueues until there is no room, and gives how many rows found some. A server that adds pages
    for several sessions at once has empty ones."""
    for start in range(0, len(rows), 20):
        try:
            fleet.enqueue("capture", rows[start : start + 20])
        except psycopg.errors.DiskFull:
            return start
    pytest.fail("the disk was never full")


@contextlib.contextmanager
def _snapshot(fleet: Fleet) -> Iterator[Any]:
    """Somebody looks at the state of now: until the end, dead rows keep their room."""
    with psycopg.connect(fleet.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM takings_capture")
        yield reader


def test_a_held_snapshot(fleet: Fleet) -> None:
    """Dead rows stay as long as somebody looks at an old state. Claims go on."""
    rows = fleet.parcels(300)
    with _snapshot(fleet) as reader:
        with fleet.workers(2):
            for start in range(0, len(rows), 100):
                fleet.enqueue("capture", rows[start : start + 100])
                fleet.captured(start + 100)
        assert reader.execute("SELECT count(*) FROM takings_capture").fetchone() == (0,)
    assert fleet.posts() == 300
    fleet.is_right(300)
