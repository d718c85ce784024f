"""No lock of ours is held while Python runs, which may want the same lock, and wait for ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import os, signal, sys, threading, time, takings
settings = dict(username="u", password="password", base_url="http://127.0.0.1:1", max_attempts=1)

def refused(work):
    try:
        work()
    except takings.InvalidInput:
        return True
"""

# Each froze when the exception was made, or the old transport ended, behind a lock.
THREADS_OF_A_CLOSED_CLIENT = """
sys.setswitchinterval(1e-5)
client = takings.Client(**settings)
client.close()
work = lambda: [refused(lambda: client.base_url) for _ in range(3000)]
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

# The handler uses the same one, as a handler of SIGTERM that closes or asks may.
A_SIGNAL_HANDLER = """
client = takings.Client(**settings)
client.close()
call = takings.Client(**settings).prepare("o", captured_amount=1)
try:
    call.send()
except takings.NotSent:
    pass
met = []
ask = lambda *_: met.append(refused(call.send) and refused(lambda: client.base_url))
signal.signal(signal.SIGALRM, ask)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
end = time.monotonic() + 30
while len(met) <= 500 and time.monotonic() < end:
    refused(lambda: client.base_url)
    refused(call.send)
assert len(met) > 100 and all(met), met
signal.setitimer(signal.ITIMER_REAL, 0)
"""

A_FORK_BESIDE_A_REFUSAL = """
sys.setswitchinterval(1e-5)
client = takings.Client(**settings)
client.close()
over = threading.Event()

def work():
    while not over.is_set():
        refused(lambda: client.base_url)

threading.Thread(target=work, daemon=True).start()
for _ in range(60):
    if (child := os.fork()) == 0:
        signal.alarm(5)
        os._exit(0 if refused(lambda: client.base_url) else 1)
    assert os.waitpid(child, 0)[1] == 0
over.set()
"""

THE_END_OF_A_TRANSPORT = """
import requests

class Session(requests.Session):
    def __del__(self):
        ended.append(client.base_url)

ended = []
client = takings.Client(**settings, transport=Session())
client.__init__(**settings)
assert ended == [client.base_url], ended
"""


@pytest.mark.parametrize(
    "program",
    [
        THREADS_OF_A_CLOSED_CLIENT,
        A_SIGNAL_HANDLER,
        A_FORK_BESIDE_A_REFUSAL,
        THE_END_OF_A_TRANSPORT,
    ],
    ids=["threads", "signal handler", "fork", "transport's end"],
)
def test_nothing_freezes(program: str) -> None:
    subprocess.run([sys.executable, "-I", "-c", BEGIN + program], timeout=60, check=True)
