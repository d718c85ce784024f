"""Looking into an order's captures."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import takings
from conftest import Sandbox


def test_found_never_once_and_several_times(client: takings.Client, order_id: str) -> None:
    def look() -> takings.Reconciliation:
        return client.reconcile(order_id, reference="parcel-1", captured_amount=10)

    nothing = look()
    assert (nothing.found, nothing.capture_id, nothing.capture_ids) == ("never", None, ())
    assert nothing.order_id == order_id
    first = client.capture(order_id, captured_amount=10, reference="parcel-1")
    found = look()
    assert (found.found, found.capture_id) == ("once", first.capture_id)
    second = client.capture(order_id, captured_amount=10, reference="parcel-1")
    found = look()
    assert (found.found, found.capture_id) == ("several", None)
    assert found.capture_ids == (first.capture_id, second.capture_id)
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"reference": "r", "captured_amount": 1.5}, "captured_amount is 1.5, a float"),
        ({"reference": "r", "captured_amount": True}, "captured_amount is True"),
        ({"reference": "r", "captured_amount": 0}, "captured_amount is 0"),
        ({"reference": "", "captured_amount": 1}, "reference is a string of 0 characters"),
        ({"captured_amount": 1}, "reference is missing"),
        ({"reference": "r", "captured_amount": 1, "amount": 1}, "amount is not a field"),
    ],
)
def test_what_cannot_be_looked_for(
    client: takings.Client, order_id: str, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(takings.InvalidInput) as raised:
        client.reconcile(order_id, **wanted)
    assert str(raised.value).startswith(message)
    assert raised.value.order_id == order_id


def test_an_order_that_is_not_there(client: takings.Client) -> None:
    with pytest.raises(takings.OutcomeUnknown) as raised:
        client.reconcile("nowhere", reference="r", captured_amount=1)
    assert raised.value.error_code == "NO_SUCH_ORDER"
    assert not raised.value.retryable
    assert "stays unknown" in str(raised.value)


def test_a_look_settles_an_unclear_capture(sandbox: Sandbox) -> None:
    order_id = sandbox.order({"fault": "lost_answer"}, {"fault": "status", "status": 401})
    with takings.Client(
        "sandbox", "sandbox", base_url=sandbox.url, backoff=0.002, reconcile=True
    ) as client:
        capture = client.capture(order_id, captured_amount=10, reference="parcel-1")
    assert capture.attempts == 2
    assert [entry["capture_id"] for entry in sandbox.ledger(order_id)] == [capture.capture_id]
