"""What comes to a shop: parcels and returns, while the sandbox makes every mistake there is."""

from __future__ import annotations

import random
from typing import Any

from shop import Shop

MISTAKES: list[dict[str, Any]] = [
    {"fault": "lost_answer"},
    {"fault": "reset_before_commit"},
    {"fault": "reset_after_commit"},
    {"fault": "close_before_commit"},
    {"fault": "reset_mid_answer"},
    {"fault": "close_mid_answer"},
    {"fault": "cut_body"},
    {"fault": "cut_body", "status": 500},
    {"fault": "delay", "seconds": 0.05, "when": "before_commit"},
    {"fault": "delay", "seconds": 0.05, "when": "after_commit"},
    {"fault": "stall", "seconds": 0.1, "when": "before_commit"},
    {"fault": "stall", "seconds": 0.1, "when": "after_commit"},
    {"fault": "too_many_requests", "ratelimit_reset": "1"},
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 503, "when": "after_commit"},
    {"fault": "status", "status": 502, "html": True, "when": "after_commit"},
    {"fault": "status", "status": 401, "html": True},
    {"fault": "status", "status": 403, "html": True},
    {"fault": "status", "status": 200, "html": True, "when": "after_commit"},
    {"fault": "created_without_id"},
    {"fault": "created", "headers": [["X-More", "1"]]},
    {"fault": "raw", "text": "HTTP/1.1 2", "when": "after_commit"},
    {"fault": "leftover", "text": "HTTP/1.1 500 no\r\n\r\n"},
    {"fault": "close_idle"},
    {"fault": "no_content_as_200"},
]
# Those of reads strike looks; a late commit strikes writes alone, as only they commit.
FAULTS = [
    *({**fault, "on": on} for fault in MISTAKES for on in ("writes", "reads")),
    {"fault": "commit_late", "on": "writes"},
    {"fault": "commit_late", "seconds": 0.2, "on": "writes"},
    {"fault": "lagging_read"},
    {"fault": "refunds_without", "member": "reference"},
]
# Klarna's own no, which may come behind an answer that was lost.
REFUSAL = {"fault": "status", "status": 403, "error_code": "NOT_ALLOWED", "on": "writes"}


class Traffic:
    """The orders of a shop, whose requests meet every fault."""

    def __init__(self, shop: Shop, number: int, *, first_ever: bool) -> None:
        """`number`: of the chances; `first_ever`: as the ledger was made."""
        self.shop = shop
        self.first_ever = first_ever
        self.random = random.Random(number)
        self.refusing: set[str] = set()
        self.rows = {"capture": set[tuple[str, str]](), "refund": set[tuple[str, str]]()}

    def receive(self) -> None:
        """New parcels, and the return of some that are captured. Klarna refuses parcels of some
        orders, and each that is for more than its order."""
        chosen = [self.random.choices(FAULTS, k=self.random.randrange(5)) for _ in range(12)]
        # A new ledger believes no refusal before ten minutes are over.
        refusing = 4 if self.first_ever else 0
        for faults in chosen[:refusing]:
            faults.insert(self.random.randrange(len(faults) + 1), REFUSAL)
        orders = self.shop.orders(chosen)
        self.refusing |= set(orders[:refusing])
        for place, order in enumerate(orders):
            # A single parcel is asked for again, and refused behind a lost answer.
            count = 1 if place < refusing else 3
            parcels = [(order, f"p-{n}", 1000 + n) for n in range(count)]
            if place < refusing // 4:
                parcels.append((order, "too-much", 2_000_000))
            self.shop.enqueue("capture", parcels)
            self.rows["capture"] |= {parcel[:2] for parcel in parcels}
        captured = self.shop.sql(
            "SELECT order_id, reference FROM takings_capture "
            "WHERE state = 'captured' ORDER BY random() LIMIT 12"
        )
        returns = [(order, f"return-{reference}", 500) for order, reference in captured]
        self.shop.enqueue("refund", returns)
        self.rows["refund"] |= {one[:2] for one in returns}

    def judge(self) -> None:
        self.shop.work_off()
        stuck = sum(self.shop.count("state = 'stuck'", kind) for kind in self.rows)
        audit = self.shop.audit(code=2 if stuck else 0)
        assert [found for found in audit["found"] if found["verdict"] != "stuck"] == []
        # A no after a request whose end nobody knows is left to a person, and only that.
        assert audit["counts"]["stuck"] == stuck
        for kind, rows in self.rows.items():
            all_rows = self.shop.sql(f"SELECT order_id, reference, state, why FROM takings_{kind}")
            assert {row[:2] for row in all_rows} == rows
            done = {"capture": "captured", "refund": "refunded"}[kind]
            others = [row for row in all_rows if row[2] != done]
            assert [row for row in others if row[0] not in self.refusing] == []
            assert {row[2:] for row in others} <= {
                ("rejected", "refused"),
                ("stuck", "refused_after_unclear"),
            }
        assert [found for found in audit["found"] if found["sandbox_id"]] == []
