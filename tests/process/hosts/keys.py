"""The memory of a parent's keys in a forked child.

keys.py BASE_URL ORDER
"""

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import takings

url, order_id = sys.argv[1:]
client = takings.Client("sandbox", "sandbox", base_url=url, max_attempts=1, timeout=10)
# all that is loaded at a first call
client.capture(order_id, captured_amount=1)


def begun(key: str, first_use: bool = False) -> Any:
    call = client.prepare(order_id, captured_amount=1, idempotency_key=key, first_use=first_use)
    call.start()
    return call


def raised(call: Callable[[], Any]) -> str:
    try:
        call()
    except takings.TakingsError as error:
        return error.kind
    return "nothing"


def refused(key: str) -> Callable[[], Any]:
    return lambda: begun(key, first_use=key == "new").answered(401, [], b"")


def child() -> list[str]:
    def capture(key: str, amount: int) -> Callable[[], Any]:
        return lambda: client.capture(order_id, captured_amount=amount, idempotency_key=key)

    told = [raised(refused(key)) for key in ("lost", "running", "new")]
    # Calls that the parent began may go on there.
    told += [raised(lambda: running.not_sent("no connection"))]
    told += [raised(capture(key, 2)) for key in ("lost", "running")]
    # no connection can be made
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return told + [raised(capture(key, 1)) for key in ("lost", "another")]


lost, running = begun("lost"), begun("running")
del lost
if os.fork() == 0:
    print(*child(), flush=True)
    os._exit(0)
os.wait()
