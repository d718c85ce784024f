"""A shop that ships each order in parcels, takes one thing back and releases the rest. It may be
killed at any moment. Its to-do list is a database; a second run goes on where the first ended.

    shop.py BASE_URL TO_DO

Prints "open" once it works, then a line for each outcome.
"""

import os
import sqlite3
import sys

import takings

url, to_do = sys.argv[1:]
shop = sqlite3.connect(to_do)
# The test kills the process, not the machine.
shop.execute("PRAGMA synchronous = OFF")
client = takings.Client(
    "sandbox",
    "sandbox",
    base_url=url,
    backoff=0.001,
    # distinguishes the runs
    user_agent_suffix=f"shop/{os.getpid()}",
)


def work(operation: str, order_id: str, name: str, amount: int) -> str:
    key = takings.idempotency_key(order_id, name, operation=operation)
    if operation == "capture":
        return client.capture(
            order_id, captured_amount=amount, reference=name, idempotency_key=key
        ).capture_id
    if operation == "refund":
        refund = client.refund(
            order_id, refunded_amount=amount, reference=name, idempotency_key=key
        )
        return refund.refund_id or "found"
    client.release_remaining_authorization(order_id, idempotency_key=key)
    return "done"


print("open", flush=True)
while jobs := shop.execute(
    "SELECT place, operation, order_id, name, amount FROM jobs WHERE result IS NULL "
    "ORDER BY place LIMIT 10"
).fetchall():
    waiting = set()
    for place, operation, order_id, name, amount in jobs:
        if order_id in waiting:
            continue  # an earlier job of the order comes first
        try:
            result = work(operation, order_id, name, amount)
        except takings.TakingsError as error:
            if not error.retryable:
                raise
            print(error.kind, flush=True)
            waiting.add(order_id)
            continue  # it stays on the list
        shop.execute("UPDATE jobs SET result = ? WHERE place = ?", (result, place))
        shop.commit()
        print("done", flush=True)
