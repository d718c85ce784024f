"""Functions that need no client: reasons against a capture or refund, and rows for a ledger."""

from __future__ import annotations

import pickle
import sqlite3
from dataclasses import FrozenInstanceError
from datetime import datetime, timezone
from typing import Any

import pytest
import takings

ORDER = "f3392f8b-6116-4073-ab96-e330819e2c07"
RAW = (
    '{"status": "PART_CAPTURED", "captured_amount": 6000, "remaining_authorized_amount": 4000,'
    ' "expires_at": "2026-12-24T00:00:00Z", "captures": [{"reference": "parcel-1"}]}'
)
TABLE = """CREATE TABLE takings_capture (
    account TEXT NOT NULL, order_id NOT NULL, reference NOT NULL, captured_amount NOT NULL,
    request, UNIQUE (account, order_id, reference))"""


def test_the_reasons_against_a_capture() -> None:
    early = datetime(2026, 12, 1, tzinfo=timezone.utc)
    order = takings.Order(ORDER, raw=RAW, answered_at=early)
    assert order.check_capture(captured_amount=4000) == []
    # a program may hand over all that it captures with, options too
    check: Any = order.check_capture
    assert check(captured_amount=4000, timeout=3.5) == []
    [reason] = order.check_capture({"captured_amount": 4001})
    assert "4000 is left to capture" in reason
    [reason] = order.check_capture(captured_amount=4000, reference="parcel-1")
    assert reason.startswith('reference is "parcel-1", that of the capture')
    late = datetime(2026, 12, 25, tzinfo=timezone.utc)
    [reason] = order.check_capture(captured_amount=4000, now=late)
    assert reason.startswith("expires_at is 2026-12-24")
    [reason] = check(captured_amount="60.00")  # no exception: it never blocks
    assert reason.startswith("captured_amount is the str")


def test_the_reasons_against_a_refund() -> None:
    order = takings.Order(ORDER, raw=RAW)
    assert order.check_refund(refunded_amount=6000) == []
    [reason] = order.check_refund(refunded_amount=6001)
    assert "captured and not refunded yet" in reason
    with pytest.raises(takings.InvalidInput):
        takings.Order(ORDER).check_refund(refunded_amount=1)


def test_an_interrupt_of_a_mapping_goes_on() -> None:
    class Mapping:
        def keys(self) -> Any:
            raise KeyboardInterrupt

        items = __getitem__ = __iter__ = __len__ = keys

    from collections.abc import Mapping as Abstract

    abstract: Any = Abstract
    abstract.register(Mapping)
    request: Any = Mapping()
    with pytest.raises(KeyboardInterrupt):
        takings.Order(ORDER, raw=RAW).check_capture(request)


def test_an_intent_is_a_row() -> None:
    intent = takings.intent(ORDER, reference="parcel-1", captured_amount=6000, description="x")
    assert intent.idempotency_key == takings.idempotency_key(ORDER, "parcel-1")
    assert (intent.account, intent.request) == ("default", '{"description":"x"}')
    database = sqlite3.connect(":memory:")
    database.execute(TABLE)
    database.execute(*intent.insert("?"))
    with pytest.raises(sqlite3.IntegrityError):
        database.execute(*intent.insert(":name"))
    [row] = database.execute("SELECT * FROM takings_capture")
    assert row == ("default", ORDER, "parcel-1", 6000, '{"description":"x"}')
    assert intent.insert("$1")[0].endswith("VALUES ($1, $2, $3, $4, $5)")
    assert intent.insert("%s")[1] == row
    assert pickle.loads(pickle.dumps(intent)) == intent
    frozen: Any = intent
    with pytest.raises(FrozenInstanceError):
        frozen.account = "other"


def test_an_intent_of_a_refund() -> None:
    refund: takings.RefundRequest = {"reference": "return-1", "refunded_amount": 1}
    intent = takings.intent(ORDER, refund, operation="refund", account="se")
    assert (intent.table, intent.account, intent.refunded_amount) == ("takings_refund", "se", 1)
    assert intent.idempotency_key == takings.idempotency_key(ORDER, "return-1", "refund")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"captured_amount": 6000}, "reference is missing"),
        ({"captured_amount": True, "reference": "p"}, "captured_amount is True"),
        ({"captured_amount": 60.0, "reference": "p"}, "captured_amount is "),
        ({"captured_amount": 1, "reference": "p", "timeout": 3}, "timeout"),
        ({"captured_amount": 1, "reference": "p", "operation": "cancel"}, "operation is "),
    ],
)
def test_an_intent_is_strict(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(takings.InvalidInput, match=message):
        takings.intent(ORDER, **fields)
