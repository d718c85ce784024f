"""Capture an order: python capture.py ORDER_ID FILE [KEY]

FILE holds the capture request as JSON, KEY is an idempotency key. The account comes from the
environment: KLARNA_USERNAME and KLARNA_PASSWORD, and KLARNA_ENVIRONMENT or KLARNA_BASE_URL.
"""

import json
import sys
from pathlib import Path

import takings


def main(order_id: str, file: str, key: str | None = None) -> None:
    request = json.loads(Path(file).read_text(encoding="utf-8"))
    try:
        with takings.Client.from_env() as client:
            capture = client.capture(order_id, request, idempotency_key=key)
    except takings.TakingsError as error:
        sys.exit(f"{error.kind}: {error}")
    for warning in capture.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(capture.capture_id, capture.idempotency_key)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
