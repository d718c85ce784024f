"""A disk that is full, broken, or takes a part of a write."""

from __future__ import annotations

import pytest
from shop import Shop, integrity
from support import until

ROWS = 20


@pytest.mark.parametrize("disk", ["full", "broken", "torn"])
def test_a_claim_that_cannot_be_written_sends_nothing(shop: Shop, disk: str) -> None:
    """The worker says what is the matter, and goes on by itself once the disk is well."""
    machine = shop.machine()
    [order] = shop.orders([[]])
    with shop.start("worker") as worker:
        shop.enqueue("capture", [(order, "first", 100)])
        until(lambda: shop.state("first") == "captured", what="the first parcel is captured")
        sent = shop.sent()
        machine.disk(disk)
        shop.enqueue("capture", [(order, f"p-{n}", 100) for n in range(ROWS)])
        until(lambda: "cannot be written" in shop.said(), what="the worker says what is the matter")
        assert shop.sent() == sent
        assert shop.count("state = 'queued'") == ROWS
        machine.disk("well")
        until(lambda: shop.count("state = 'captured'") == ROWS + 1, what="the worker goes on")
        until(lambda: "can be written again" in shop.said(), what="the worker says that it goes on")
        shop.stop(worker)
    shop.is_right(ROWS + 1)


@pytest.mark.parametrize("disk", ["full", "broken"])
def test_an_end_that_cannot_be_written_is_kept(shop: Shop, disk: str) -> None:
    """The disk fails between the request and the note of how it ended."""
    machine = shop.machine()
    slow = {"fault": "delay", "seconds": 0.5, "when": "after_commit"}
    orders = shop.orders([[slow] for _ in range(ROWS)])
    with shop.start("worker") as worker:
        shop.enqueue("capture", [(order, "p", 100) for order in orders])
        until(lambda: len(shop.sandbox.ledger()) == ROWS, what="all are captured at the sandbox")
        machine.disk(disk)
        until(lambda: "cannot be written" in shop.said(), what="the worker says what is the matter")
        late = shop.count("state = 'sending'")
        sent = shop.sent()
        machine.disk("well")
        until(lambda: shop.count("state = 'captured'") == ROWS, what="the ends are written")
        assert shop.sent() == sent, "none was asked for again"
        shop.stop(worker)
    assert late > 0
    shop.is_right(ROWS)


def test_a_worker_that_cannot_write_can_be_ended(shop: Shop) -> None:
    machine = shop.machine()
    slow = {"fault": "delay", "seconds": 0.5, "when": "after_commit"}
    [order] = shop.orders([[slow]])
    with shop.start("worker") as worker:
        shop.enqueue("capture", [(order, "p", 100)])
        until(shop.sandbox.ledger, what="it is captured at the sandbox")
        machine.disk("full")
        until(lambda: "cannot be written" in shop.said(), what="the worker says what is the matter")
        worker.process.terminate()
        assert worker.process.wait(timeout=60) == 1
    assert "full" in shop.said()
    machine.disk("well")
    shop.work_off()
    shop.is_right(1)


def test_after_a_failed_flush_the_worker_ends(shop: Shop) -> None:
    """Nobody knows what is on the disk then, so only a new start helps."""
    machine = shop.machine()
    orders = shop.orders([[] for _ in range(ROWS)])
    with shop.start("worker") as worker:
        shop.enqueue("capture", [(order, "p-1", 100) for order in orders])
        until(lambda: shop.count("state = 'captured'") == ROWS, what="the parcels are captured")
        sent = shop.sent()
        machine.disk("unsynced")
        shop.enqueue("capture", [(order, "p-2", 100) for order in orders])
        assert worker.process.wait(timeout=60) == 1
    assert "disk I/O error" in shop.said()
    assert shop.sent() == sent
    assert "disk I/O error" in shop.fails(
        "enqueue", "--order", orders[0], *("--reference", "p-3", "--amount", "100")
    )
    machine.disk("well")
    shop.work_off()
    assert integrity(shop.path) == "ok"
    shop.is_right(2 * ROWS + shop.count("reference = 'p-3'"))


def test_short_writes_change_nothing(shop: Shop) -> None:
    shop.machine().disk("short")
    orders = shop.orders([[] for _ in range(ROWS)])
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    shop.work_off()
    assert integrity(shop.path) == "ok"
    shop.is_right(ROWS)


def test_a_file_is_enqueued_whole_or_not_at_all(shop: Shop) -> None:
    machine = shop.machine()
    [order] = shop.orders([[]])
    file = shop.folder / "shipments.csv"
    lines = [f"{order},p-{n},100" for n in range(500)]
    file.write_text("\n".join(["order_id,reference,captured_amount", *lines]))
    for disk in ("full", "torn", "broken"):
        machine.disk(disk)
        told = shop.fails("capture-file", file, "--yes")
        assert "full" in told or "disk I/O" in told
        assert shop.count() == 0
    machine.disk("well")
    shop.run("capture-file", file, "--yes")
    shop.is_right(500)
