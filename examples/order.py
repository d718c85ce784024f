"""The life of an order: `order.py ORDER_ID`, for an order over 100.00.

It leaves in two parcels, gets a tracking number, one thing comes back, and the rest is released.
Each step has a name, so a second run moves no more money. The account comes from the environment:
see `takings.Client.from_env`.
"""

import sys

import takings


def live(client: takings.Client, order_id: str) -> None:
    captured: list[str] = []
    for parcel, amount in (("parcel-1", 6000), ("parcel-2", 2500)):
        capture = client.capture(
            order_id,
            captured_amount=amount,
            reference=parcel,
            idempotency_key=takings.idempotency_key(order_id, parcel),
        )
        captured.append(capture.capture_id)
        print("captured", capture.capture_id, capture.attempts)

    # The carrier's number comes later than the parcel's capture.
    key = takings.idempotency_key(
        order_id, "parcel-1", operation="append_shipping_info", capture_id=captured[0]
    )
    tracked = client.append_shipping_info(
        order_id,
        capture_id=captured[0],
        shipping_info=[{"shipping_company": "DHL", "tracking_number": "JD014600"}],
        idempotency_key=key,
    )
    print("tracked", captured[0], tracked.attempts)

    refund = client.refund(
        order_id,
        refunded_amount=2500,
        reference="return-1",
        idempotency_key=takings.idempotency_key(order_id, "return-1", operation="refund"),
    )
    print("refunded", refund.refund_id, refund.attempts)

    # The order is over, so the customer gets back what is still reserved.
    key = takings.idempotency_key(order_id, "end", operation="release_remaining_authorization")
    released = client.release_remaining_authorization(order_id, idempotency_key=key)
    print("released", order_id, released.attempts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: order.py ORDER_ID")
    try:
        with takings.Client.from_env() as client:
            live(client, sys.argv[1])
    except takings.TakingsError as why:
        sys.exit(str(why))
