"""Klarna's documents in Python: attributes, plain parts, times, and what a log may show."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from dataclasses import FrozenInstanceError, fields
from datetime import datetime, timezone
from typing import Any

import pytest
import takings

ORDER = "f3392f8b-6116-4073-ab96-e330819e2c07"
LINE = {"name": "Tomatoes", "quantity": 10, "unit_price": 600, "total_amount": 6000}
DOCUMENT: dict[str, Any] = {
    "order_id": ORDER,
    "status": "PART_CAPTURED",
    "order_amount": 10000,
    "captured_amount": 6000.0,
    "locale": "",
    "merchant_data": None,
    "expires_at": "2026-12-24T01:00:00.5+01:00",
    "customer": {"date_of_birth": "1980-12-31", "new_member": 1},
    "shipping_address": {"city": "Bremen", "new_member": 1},
    "captures": [
        {"capture_id": "c-1", "captured_amount": 6000, "order_lines": [{**LINE, "new_member": 1}]}
    ],
    "new_member": {"a": [1.5, None]},
}


def answered(operation: str, document: Any, **fields: Any) -> Any:
    client = takings.Client("user", "password", region="eu", environment="playground")
    call = client.prepare_call(operation, ORDER, fields or None)
    call.start()
    return call.answered(200, [("content-type", "application/json")], json.dumps(document).encode())


def test_an_order_has_attributes() -> None:
    order = answered("get_order", DOCUMENT)
    assert isinstance(order, takings.Order)
    assert (order.order_id, order.status, order.order_amount) == (ORDER, "PART_CAPTURED", 10000)
    assert order.captured_amount is None
    assert len(order.warnings) == 1
    assert "captured_amount" in order.warnings[0]
    assert (order.locale, order.merchant_data, order.billing_address) == ("", None, None)
    assert (order.order_lines, order.refunds, order.shipping_info) == ([], (), [])
    assert order.expires_at == datetime(2026, 12, 24, 0, 0, 0, 500000, tzinfo=timezone.utc)
    assert order.customer == {"date_of_birth": "1980-12-31", "new_member": 1}
    assert json.loads(order.raw) == DOCUMENT
    assert (order.attempts, len(order.attempt_log)) == (1, 1)


def test_parts_are_as_json_has_them() -> None:
    # the names of one part in two orders, more of them than are kept at hand, and one that nests
    names = [f"member_{number}" for number in range(100)]
    part: dict[str, Any] = {name: 1 for name in names}
    part["nested"] = [{name: [None] for name in reversed(names)}, {}, dict.fromkeys(names, "é")]
    lines: list[dict[str, Any]] = [LINE, dict(reversed(LINE.items())), {"name": "x"}, LINE]
    order = answered("get_order", {**DOCUMENT, "customer": part, "order_lines": lines})
    assert (order.customer, order.order_lines) == (part, lines)
    assert [list(line) for line in order.order_lines] == [list(line) for line in lines]


def test_parts_can_be_sent_back() -> None:
    order = answered("get_order", DOCUMENT)
    (capture,) = order.captures
    assert isinstance(capture, takings.CaptureDetails)
    assert (capture.capture_id, capture.captured_amount) == ("c-1", 6000)
    assert json.loads(capture.raw) == DOCUMENT["captures"][0]
    assert capture.order_lines == [LINE]
    client = takings.Client("user", "password", region="eu", environment="playground")
    client.prepare_refund(ORDER, refunded_amount=6000, order_lines=capture.order_lines)
    client.prepare_update_customer_details(ORDER, shipping_address=order.shipping_address)
    lines: Any = [{**LINE, "new_member": 1}]
    with pytest.raises(takings.InvalidInput):
        client.prepare_refund(ORDER, refunded_amount=1, order_lines=lines)


def test_captures_are_read_like_a_list() -> None:
    captures = answered("get_captures", [{"capture_id": "a"}, {"capture_id": "b"}])
    assert [capture.capture_id for capture in captures] == ["a", "b"]
    assert (len(captures), captures[1].capture_id) == (2, "b")
    assert answered("get_captures", []).captures == ()


def test_other_documents() -> None:
    refund = answered("get_refund", {"refunded_amount": 5}, refund_id="r-1")
    assert isinstance(refund, takings.RefundDetails)
    assert (refund.refund_id, refund.refunded_amount) == (None, 5)
    options = answered(
        "get_extend_due_date_options",
        {"currency": "EUR", "options": [{"number_of_days": 30, "amount": 195}]},
        capture_id="c-1",
    )
    assert isinstance(options, takings.DueDateOptions)
    assert options.options == [{"number_of_days": 30, "amount": 195}]


def test_an_order_is_a_frozen_value() -> None:
    order = answered("get_order", DOCUMENT)
    with pytest.raises(FrozenInstanceError):
        order.status = "CLOSED"
    assert copy.copy(order) == order == pickle.loads(pickle.dumps(order))
    assert hash(order) == hash(copy.copy(order))
    assert order != answered("get_order", {**DOCUMENT, "new_member": 2})
    assert {"status", "raw", "captures"} <= {field.name for field in fields(order)}
    made = takings.Order(ORDER, status="AUTHORIZED")
    assert (made.order_lines, made.captures, made.attempts) == ([], (), 1)
    assert made.order_lines is not takings.Order(ORDER).order_lines


def test_members_are_made_when_they_are_asked_for() -> None:
    order, same = (answered("get_order", DOCUMENT) for _ in range(2))
    assert order.captures is order.captures
    order.order_lines.append(LINE)
    assert order.order_lines == [LINE]
    assert same.order_lines == []
    # none of these was asked for before
    for other in (pickle.loads(pickle.dumps(same)), copy.copy(same), copy.deepcopy(same)):
        assert (other, hash(other), other.raw) == (same, hash(same), same.raw)
        assert other.shipping_address == {"city": "Bremen"}
    assert not hasattr(same, "captured")
    assert not hasattr(takings.Order.__new__(takings.Order), "status")


def test_no_customer_shows_in_a_log() -> None:
    order = answered("get_order", DOCUMENT)
    shown = repr(order) + repr(order.captures)
    assert "PART_CAPTURED" in shown
    assert "c-1" in shown
    assert not any(word in shown for word in ("1980", "Bremen", "Tomatoes", "new_member"))


def test_awaited_reads_give_the_same(sandbox: Any) -> None:
    order_id = sandbox.order()
    settings: Any = {"base_url": sandbox.url, "username": "sandbox", "password": "sandbox"}

    async def read() -> takings.Order:
        async with takings.AsyncClient(**settings) as client:
            return await client.get_order(order_id)

    order = asyncio.run(read())
    assert (order.status, order.remaining_authorized_amount) == ("AUTHORIZED", 10000)
    assert order.expires_at is not None
    assert order.expires_at.tzinfo is timezone.utc


def test_the_values_of_a_capture_are_made_when_they_are_asked_for(sandbox: Any) -> None:
    settings: Any = {"base_url": sandbox.url, "username": "sandbox", "password": "sandbox"}
    with takings.Client(**settings) as client:
        one, same = (client.capture(sandbox.order(), captured_amount=100) for _ in range(2))
    # none of these was asked for before
    for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert (other, hash(other), other.attempt_log) == (one, hash(one), one.attempt_log)
    assert one != same
    assert same.attempt_log is same.attempt_log
    assert [attempt.http_status for attempt in same.attempt_log] == [201]
    assert (same.attempts, same.warnings) == (1, ())
    assert not hasattr(same, "captured")
    assert not hasattr(takings.Capture.__new__(takings.Capture), "capture_id")
