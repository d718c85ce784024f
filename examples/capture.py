"""Captures an order: `capture.py ORDER_ID FILE [KEY]`.

FILE holds the request as JSON, in Klarna's field names (`examples/capture.json`).
The address and the account come from the environment: see `takings.Client.from_env`. Without KEY
a key is derived from the order and the name "parcel-1", so that a second run gets the first run's
capture. On failure the message says what happened to the money.
"""

import json
import sys
from pathlib import Path

import takings


def capture(order_id: str, file: str, key: str | None = None) -> takings.Capture:
    request = json.loads(Path(file).read_text(encoding="utf-8"))
    if key is None:
        key = takings.idempotency_key(order_id, "parcel-1")
    with takings.Client.from_env() as client:
        return client.capture(order_id, request, idempotency_key=key)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: capture.py ORDER_ID FILE [KEY]")
    try:
        captured = capture(*sys.argv[1:])
    except (takings.TakingsError, OSError, ValueError) as why:
        sys.exit(str(why))
    print("capture", captured.capture_id)
    print("key", captured.idempotency_key)
