"""The same program as c/many.c."""

import gc
import os
import resource
import sys
import threading
import time
from pathlib import Path

import takings

url, amount, descriptors = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
over = False
lists = threading.Lock()


def next_line() -> str:
    global over
    with lists:
        line = sys.stdin.readline()
    over = over or not line
    return line.strip()


def work() -> None:
    while line := next_line():
        order_id, key = line.split()
        try:
            capture = client.capture(order_id, captured_amount=1, idempotency_key=key)
            assert (capture.order_id, capture.idempotency_key) == (order_id, key)
            told = f"capture {capture.attempts} {capture.capture_id}"
        except takings.TakingsError as error:
            told = f"{error.kind} {error.attempts} -"
            if (error.order_id, error.idempotency_key) != (order_id, key):
                told = "mixed up - -"
        with lists:
            print(order_id, key, told)


# for looking at what is used, where the client's idle connections have all the others
spare = os.open(os.devnull, os.O_RDONLY)


def tell_use(most_threads: int) -> None:
    global spare
    gc.collect()
    os.close(spare)
    # a thread that was joined may still be on its way out
    patience = time.monotonic() + 2
    while len(os.listdir("/proc/self/task")) > most_threads:
        if time.monotonic() > patience:
            break
        time.sleep(0.01)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    threads = len(os.listdir("/proc/self/task"))
    used = len(os.listdir("/proc/self/fd")) - 1
    print("use", pages * resource.getpagesize() // 1024, threads, used, flush=True)
    spare = os.open(os.devnull, os.O_RDONLY)


tell_use(1)
client = takings.Client("sandbox", "sandbox", base_url=url, backoff=0.001)
while not over:
    threads = [threading.Thread(target=work) for _ in range(amount)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell_use(2)
client.close()
tell_use(1)
