"""Clocks that are wrong by two days, and workers that are frozen with a claim in hand."""

from __future__ import annotations

import os
import signal

import pytest
from shop import DAY, Machine, Shop, stopped
from support import until

LOST = {"fault": "lost_answer", "on": "writes"}
TWO_DAYS = 2 * DAY


def days_pass(shop: Shop, machine: Machine, seconds: int) -> None:
    """For the shop's machine and at the sandbox, which forgets keys after a day."""
    machine.clock(seconds, seconds)
    shop.sandbox.control("/clock", {"advance_seconds": seconds})


def test_a_parcel_of_yesterday_is_looked_for(shop: Shop) -> None:
    """Its answer was lost, and the sandbox has forgotten its key."""
    machine = shop.machine()
    orders = shop.orders([[LOST]] * 5)
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    shop.work()
    assert shop.count("state = 'unclear'") == 5
    days_pass(shop, machine, 25 * 60 * 60)
    shop.work_off()
    shop.is_right(5)


def test_a_clock_that_is_ahead(shop: Shop) -> None:
    """Captures are looked for first. Once it is right, nothing is sent until a person says so."""
    machine = shop.machine()
    orders = shop.orders([[LOST]] * 5)
    shop.enqueue("capture", [(order, "p", 100) for order in orders[:3]])
    machine.clock(TWO_DAYS)
    shop.work()
    first = shop.posts()
    methods = [request["method"] for request in shop.sandbox.requests()]
    assert methods.index("GET") < methods.index("POST")
    machine.clock(0)
    shop.enqueue("capture", [(order, "p", 100) for order in orders[3:]])
    shop.hurry()
    shop.work()
    assert shop.posts() == first
    assert "clock" in shop.run("status", code=0)
    shop.run("resume")
    shop.work_off()
    shop.is_right(5)


def test_a_clock_that_is_behind(shop: Shop) -> None:
    machine = shop.machine()
    orders = shop.orders([[LOST], [], []])
    shop.enqueue("capture", [(orders[0], "p", 100)])
    shop.work()
    sent = shop.sent()
    machine.clock(-TWO_DAYS)
    shop.enqueue("capture", [(order, "p", 100) for order in orders[1:]])
    for _ in range(3):
        shop.hurry()
        shop.work()
    assert shop.sent() == sent
    machine.clock(0)
    shop.work_off()
    shop.is_right(3)


@pytest.mark.parametrize("earlier", ["sent", "fresh"])
def test_a_worker_that_was_frozen_sends_nothing_old(shop: Shop, earlier: str) -> None:
    """It is stopped with a claim in hand, and wakes after its lease, when the key is forgotten."""
    machine = shop.machine()
    orders = shop.orders([[LOST] if earlier == "sent" else []] * 3)
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    if earlier == "sent":
        shop.work()
    shop.hurry()
    machine.stop_at_next_claim()
    with shop.start("worker") as worker:
        stopped(worker)
        assert shop.count("state = 'sending'") == 3
        sent = shop.posts()
        assert "another worker has this ledger" in shop.fails("worker")
        days_pass(shop, machine, 25 * 60 * 60)
        os.kill(worker.process.pid, signal.SIGCONT)
        until(lambda: shop.count("state = 'captured'") == 3, what="it goes on")
        shop.stop(worker)
    methods = [request["method"] for request in shop.sandbox.requests()][sent:]
    assert methods[0] == "GET"
    shop.work_off()
    shop.is_right(3)


def test_stopped_for_two_leases(shop: Shop) -> None:
    """Only the time since boot shows it, where the time of the day was set back meanwhile."""
    machine = shop.machine()
    orders = shop.orders([[]] * 3)
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    machine.stop_at_next_claim()
    with shop.start("worker") as worker:
        stopped(worker)
        machine.clock(0, 2 * 180)
        os.kill(worker.process.pid, signal.SIGCONT)
        until(lambda: shop.count("sends > 1") == 3, what="it claims them anew")
        until(lambda: shop.count("state = 'captured'") == 3, what="it goes on")
        shop.stop(worker)
    assert shop.posts() == 3
    assert shop.count("maybe = 0") == 3
    shop.is_right(3)
