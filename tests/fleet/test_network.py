"""Workers that are cut off: from the database, from Klarna, from both."""

from __future__ import annotations

import random
import time
import urllib.parse

import pytest
from fleet import SOAK, Fleet
from postgres import Cluster
from support import until
from traffic import Traffic
from wire import Host, Wire

CUTS = 60 if SOAK else 6


def socket_of(cluster: Cluster) -> str:
    return str(cluster.folder / ".s.PGSQL.5432")


def to_ledger(fleet: Fleet, port: int) -> str:
    return f"postgres://owner@127.0.0.1:{port}/{fleet.database}"


@pytest.mark.parametrize("how", ["cut", "frozen", "half-closed"])
def test_cut_from_the_database(fleet: Fleet, how: str) -> None:
    """At random moments, with claims in hand and ends to be written. Another worker goes on."""
    chance = random.Random(how)
    traffic = Traffic(fleet, 8, first_ever=True)
    with Wire(socket_of(fleet.cluster)) as wire:
        url = to_ledger(fleet, wire.port)
        with fleet.workers(1), fleet.worker(1, TAKINGS_LEDGER=url):
            until(fleet.has_begun(1), within=60, what="the second worker has begun")
            for _ in range(CUTS):
                traffic.receive()
                fleet.hurry()
                time.sleep(chance.uniform(0, 0.2))
                if how == "cut":
                    wire.cut()
                elif how == "frozen":
                    wire.freeze()
                else:
                    wire.close_towards(server=chance.random() < 0.5)
                time.sleep(chance.uniform(0, 0.5))
                wire.mend()
            before = fleet.count("state = 'captured'")
            traffic.receive()
            fleet.captured(before + 1, hurried=True)
        traffic.judge()


@pytest.mark.parametrize("how", ["cut", "frozen", "half-closed"])
def test_cut_from_klarna(fleet: Fleet, how: str) -> None:
    """A request that may have arrived is not forgotten; while nothing arrives, nothing is tried."""
    where = urllib.parse.urlsplit(fleet.sandbox.url)
    chance = random.Random(how)
    with Wire((where.hostname or "", where.port or 0)) as wire:
        fleet.environment["KLARNA_BASE_URL"] = f"http://127.0.0.1:{wire.port}"
        rows = fleet.parcels(100 * CUTS)
        with fleet.workers(3):
            for start in range(0, len(rows), 100):
                fleet.enqueue("capture", rows[start : start + 100])
                time.sleep(chance.uniform(0, 0.1))
                if how == "cut":
                    wire.cut()
                elif how == "frozen":
                    wire.freeze()
                else:
                    wire.close_towards(server=chance.random() < 0.5)
                time.sleep(chance.uniform(0, 0.5))
                wire.mend()
                fleet.hurry()
        fleet.work_off()
        fleet.is_right(len(rows))


def test_a_host_without_a_network(fleet: Fleet) -> None:
    """The connection is half open: no word of its end comes. The worker's own time-outs end it."""
    where = urllib.parse.urlsplit(fleet.sandbox.url)
    slow = {"fault": "delay", "seconds": 1, "when": "after_commit"}
    rows = fleet.parcels(100) + fleet.parcels(60, slow)
    servers = (
        (socket_of(fleet.cluster), 5432),
        ((where.hostname or "", where.port or 0), where.port or 0),
    )
    with Host(*servers) as host:
        url = to_ledger(fleet, 5432)
        words = {"before": host.before, "name": "worker-1"}
        with fleet.workers(0), fleet.start("worker", **words, TAKINGS_LEDGER=url) as worker:  # type: ignore[arg-type]
            until(fleet.has_begun(1), within=60, what="the worker has begun")
            fleet.enqueue("capture", rows)
            until(lambda: len(fleet.sandbox.ledger()) > 60, what="requests are under way")
            host.unplug()
            fleet.has_said("cannot be written", 1)
            host.plug()
            fleet.has_said("can be written again", 1)
            fleet.hurry()
            until(lambda: fleet.count("due_at IS NULL") > 100, within=60, what="it goes on")
            worker.process.terminate()
            assert worker.process.wait(timeout=120) == 0
        fleet.work_off()
        fleet.is_right(len(rows))
