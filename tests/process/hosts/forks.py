"""A client in a family of processes.

    forks.py BASE_URL ORDER OUTCOMES

The parent captures in a thread all the while. Its children capture in threads of their own and
have children, which capture as well. Each notes "PROCESS KEY CAPTURE_ID" in OUTCOMES.
"""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import takings

url, order_id, outcomes = sys.argv[1:]
SECONDS = 60
signal.alarm(SECONDS)
clients = [takings.Client("sandbox", "sandbox", base_url=url, backoff=0.01)]
file = os.open(outcomes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def capture() -> None:
    made = clients[0].capture(order_id, captured_amount=1)
    line = f"{os.getpid()} {made.idempotency_key} {made.capture_id}\n"
    os.write(file, line.encode())


def captures(threads: int) -> None:
    working = [threading.Thread(target=capture) for _ in range(threads)]
    for thread in working:
        thread.start()
    capture()
    for thread in working:
        thread.join()


def child(work: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            signal.alarm(SECONDS)
            work()
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(status)
    return process


def drop() -> None:
    clients.clear()
    gc.collect()


def family() -> None:
    """Captures, has a child that captures, and goes on."""
    captures(3)
    ends_well(child(lambda: captures(2)))
    capture()
    ends_well(child(drop))
    drop()


def ends_well(process: int) -> None:
    assert os.waitpid(process, 0)[1] == 0, "a child failed or hung"


# before its first call
ends_well(child(capture))
ends_well(child(drop))
capture()
stop = threading.Event()


def load() -> None:
    while not stop.is_set():
        capture()


loads = [threading.Thread(target=load) for _ in range(2)]
for thread in loads:
    thread.start()
for _ in range(4):
    children = [child(work) for work in (family, drop, capture, family)]
    capture()
    for process in children:
        ends_well(process)
    time.sleep(0.01)
stop.set()
for thread in loads:
    thread.join()
capture()
drop()
print("done")
