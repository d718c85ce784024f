"""A program whose captures are interrupted by signals.

    interrupted.py BASE_URL TIMEOUT

For each line "ORDER KEY" it says "calling", captures, and says what came of it:

    MONOTONIC_SECONDS EXCEPTION KIND ORDER KEY ATTEMPTS

SIGTERM raises SystemExit, as servers have it. The process goes on after each.
"""

import signal
import sys
import time

import takings


def leave(*_: object) -> None:
    sys.exit("terminated")


signal.signal(signal.SIGTERM, leave)
client = takings.Client(
    "sandbox", "sandbox", base_url=sys.argv[1], timeout=float(sys.argv[2]), backoff=0.3
)
while line := sys.stdin.readline():
    order_id, key = line.split()
    print("calling", flush=True)
    try:
        capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
    except (KeyboardInterrupt, SystemExit) as raised:
        now = time.monotonic()
        cause = raised.__cause__
        assert isinstance(cause, takings.OutcomeUnknown), repr(cause)
        assert key in str(cause)
        facts = [cause.kind, cause.order_id, cause.idempotency_key, cause.attempts]
        print(now, type(raised).__name__, *facts, flush=True)
    else:
        print(time.monotonic(), "none", "capture", order_id, key, capture.attempts, flush=True)
