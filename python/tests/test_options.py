"""Limits of a single call and of a client beside another, and ids by position."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import takings
from conftest import Sandbox

DOWN = {"fault": "status", "status": 503}
PARCEL: Any = {"shipping_company": "DHL", "tracking_number": "JD014600"}


def fails_once(call: Any, *arguments: Any, **fields: Any) -> None:
    with pytest.raises(takings.OutcomeUnknown) as caught:
        call(*arguments, **fields)
    assert caught.value.attempts == 1


def test_a_call_may_have_limits_of_its_own(sandbox: Sandbox, client: takings.Client) -> None:
    order_id = sandbox.order(DOWN, DOWN)
    key = takings.idempotency_key(order_id, "parcel-1")
    fails_once(client.capture, order_id, captured_amount=1, idempotency_key=key, max_attempts=1)
    request: Any = {"captured_amount": 1}
    fails_once(client.capture, order_id, request, idempotency_key=key, max_attempts=1)
    assert client.capture(order_id, captured_amount=1, idempotency_key=key).attempts == 1


def test_times_are_seconds_with_their_fraction(sandbox: Sandbox, client: takings.Client) -> None:
    order_id = sandbox.order({"fault": "stall"})
    began = time.monotonic()
    fails_once(client.capture, order_id, captured_amount=1, timeout=0.3)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout is 0.0; it must be a number of seconds, more than nothing"),
        ({"timeout": "3"}, 'timeout is the string "3"'),
        ({"timeout": 25000}, "timeout is 25000.0; times are in seconds"),
        ({"timeout": timedelta(seconds=3)}, ".total_seconds() that of a timedelta"),
        ({"max_attempts": 1.5}, "max_attempts is 1.5, a float"),
        ({"max_attempts": 21}, "max_attempts is 21; it must be a whole number from 1 to 20"),
        ({"timeout_ms": 3000}, "timeout_ms is not"),
        ({"max_attempt": 1}, "did you mean max_attempts?"),
    ],
)
def test_options_that_are_none(
    client: takings.Client, options: dict[str, Any], message: str
) -> None:
    made: Any = client
    calls: list[Callable[[], object]] = [
        lambda: made.with_options(**options),
        lambda: made.capture("order", captured_amount=1, **options),
        lambda: made.get_order("order", **options),
        lambda: made.prepare_get_order("order", **options),
    ]
    for call in calls:
        with pytest.raises(takings.InvalidInput, match=re.escape(message)):
            call()


def test_a_client_beside_another(sandbox: Sandbox, client: takings.Client) -> None:
    order_id = sandbox.order(DOWN)
    with client.with_options(max_attempts=1, timeout=None) as quick:
        assert type(quick) is takings.Client
        assert quick.base_url == client.base_url
        key = takings.new_idempotency_key()
        fails_once(quick.capture, order_id, captured_amount=1, idempotency_key=key)
        with pytest.raises(takings.InvalidInput, match="was used for another capture"):
            client.capture(order_id, captured_amount=2, idempotency_key=key)
    with pytest.raises(takings.InvalidInput, match="closed"):
        quick.capture(order_id, captured_amount=1)
    assert client.capture(order_id, captured_amount=1, idempotency_key=key)
    client.close()
    with pytest.raises(takings.InvalidInput, match="closed"):
        client.with_options(max_attempts=1)


def test_a_subclass_stays_one(sandbox: Sandbox) -> None:
    class Own(takings.Client):
        pass

    with Own("sandbox", "sandbox", base_url=sandbox.url) as own:
        assert type(own.with_options(timeout=3)) is Own


def test_an_asynchronous_client_beside_another(sandbox: Sandbox) -> None:
    async def run() -> None:
        client = takings.AsyncClient("sandbox", "sandbox", base_url=sandbox.url)
        order_id = sandbox.order(DOWN, DOWN)
        key = takings.new_idempotency_key()
        async with client.with_options(max_attempts=1) as quick:
            with pytest.raises(takings.OutcomeUnknown) as caught:
                await quick.capture(order_id, captured_amount=1, idempotency_key=key)
            assert caught.value.attempts == 1
        with pytest.raises(takings.OutcomeUnknown) as caught:
            await client.capture(
                order_id, captured_amount=1, idempotency_key=key, max_attempts=1, timeout=5
            )
        assert caught.value.attempts == 1
        assert await client.capture(order_id, captured_amount=1, idempotency_key=key)
        with pytest.raises(takings.InvalidInput, match="max_attempts is 0"):
            client.with_options(max_attempts=0)
        await client.aclose()

    asyncio.run(run())


def test_an_id_may_stand_behind_the_order_s(sandbox: Sandbox, client: takings.Client) -> None:
    order_id = sandbox.order()
    capture = client.capture(order_id, captured_amount=6000)
    read = client.get_capture(order_id, capture.capture_id)
    assert read.raw == client.get_capture(order_id, capture_id=capture.capture_id).raw
    refund = client.refund(order_id, refunded_amount=1000, reference="return-1")
    assert refund.refund_id
    assert client.get_refund(order_id, refund.refund_id, max_attempts=2)
    key = takings.idempotency_key(
        order_id, "parcel-1", "append_shipping_info", capture_id=capture.capture_id
    )
    assert client.append_shipping_info(
        order_id, capture.capture_id, shipping_info=[PARCEL], idempotency_key=key
    )
    assert client.append_shipping_info(
        order_id,
        {"capture_id": capture.capture_id, "shipping_info": [PARCEL]},
        idempotency_key=key,
    )
    assert client.prepare_trigger_send_out(order_id, capture.capture_id).order_id == order_id
    by_name = client.call("get_capture", order_id, capture.capture_id)
    assert by_name.capture_id == capture.capture_id

    async def run() -> None:
        async with takings.AsyncClient("sandbox", "sandbox", base_url=sandbox.url) as other:
            assert (await other.get_capture(order_id, capture.capture_id)).captured_amount == 6000

    asyncio.run(run())


def test_ids_that_are_none(client: takings.Client) -> None:
    made: Any = client
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: made.get_capture("order"), "capture_id is missing"),
        (lambda: made.get_capture("order", 5), "capture_id is a number; it must be a string"),
        (lambda: made.get_capture("order", "c", capture_id="c"), "given as a mapping and as"),
        (lambda: made.append_shipping_info("order", shipping_info=[]), "capture_id is missing"),
    ]
    for call, message in calls:
        with pytest.raises(takings.InvalidInput, match=message):
            call()
