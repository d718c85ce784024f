"""A shop that ships each order in parcels, captures each parcel once it ships, and may be
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
print("open", flush=True)
while parcels := shop.execute(
    "SELECT order_id, parcel, amount FROM parcels WHERE capture_id IS NULL ORDER BY place LIMIT 10"
).fetchall():
    for order_id, parcel, amount in parcels:
        key = takings.idempotency_key(order_id, f"parcel-{parcel}")
        try:
            capture = client.capture(order_id, captured_amount=amount, idempotency_key=key)
        except takings.TakingsError as error:
            if not error.retryable:
                raise
            print(error.kind, flush=True)
            continue  # it stays on the list
        shop.execute(
            "UPDATE parcels SET capture_id = ? WHERE order_id = ? AND parcel = ?",
            (capture.capture_id, order_id, parcel),
        )
        shop.commit()
        print("captured", flush=True)
