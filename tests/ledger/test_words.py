"""People who speak while a worker has the row."""

from __future__ import annotations

import pytest
from shop import Shop
from support import until

SLOW = {"fault": "delay", "seconds": 1.5, "when": "after_commit"}


@pytest.mark.parametrize("answer", ["good", "lost"])
def test_a_person_says_that_it_is_captured(shop: Shop, answer: str) -> None:
    """The worker's own word comes later, and its row is settled by then."""
    late = {"fault": "stall", "seconds": 1.5, "when": "after_commit"}
    [order] = shop.orders([[SLOW if answer == "good" else late]])
    with shop.start("worker") as worker:
        shop.enqueue("capture", [(order, "p-1", 100)])
        [capture] = until(shop.sandbox.ledger, what="it is captured at the sandbox")
        id_s = ["--captured", capture["capture_id"], "--by", "ada"]
        shop.run("settle", order, "p-1", *id_s)
        shop.enqueue("capture", [(order, "p-2", 100)])
        until(lambda: shop.state("p-2") == "captured", what="the worker goes on")
        assert shop.state("p-1") == "captured"
        shop.stop(worker)
    assert shop.sql("SELECT settled_by FROM takings_capture WHERE reference = 'p-1'") == [("ada",)]
    shop.is_right(2)


def test_a_person_says_that_the_ledger_was_restored(shop: Shop) -> None:
    """Requests of before are under way, and their success counts."""
    orders = shop.orders([[SLOW]] * 3)
    with shop.start("worker") as worker:
        shop.enqueue("capture", [(order, "p", 100) for order in orders])
        until(lambda: shop.posts() == 3, what="all are under way")
        shop.run("restored")
        until(lambda: shop.count("state = 'captured'") == 3, what="the worker goes on")
        shop.stop(worker)
    assert shop.posts() == 3
    shop.is_right(3)
