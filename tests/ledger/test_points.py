"""One capture, with a kill before each write to the disk, each flush and each send."""

from __future__ import annotations

import pytest
from shop import SOAK, Shop

# More system calls of a kind than one capture makes.
MOST = 200
# strace counts each call of a thread by itself. A flush is one or the other, by the build.
KINDS = {
    "writes": ["pwrite64", "write", "ftruncate", "unlink"],
    "flushes": ["fsync", "fdatasync"],
    "sends": ["connect", "writev", "sendto", "recvfrom"],
}
# In one capture of its first worker, at the least.
LEAST = {"writes": 20, "flushes": 4, "sends": 3}


def kills(shop: Shop, table: str, order: str, call: str) -> int:
    """Kills a worker before each such call of one capture, and gives their number."""
    tracer = ["strace", "-f", "-qq", "-e", f"trace={call}", "-e", "signal=none"]
    for n in range(1, MOST):
        shop.enqueue(table, [(order, f"{call}-{n}", 100)])
        inject = f"inject={call}:signal=KILL:when={n}"
        words = ["worker", "--hands", "1", "--until-quiet", "0"]
        with shop.start(*words, before=[*tracer, "-e", inject]) as program:
            ended = program.process.wait(timeout=60)
        # The next worker must know by itself how to go on.
        shop.work_off()
        assert shop.count("state NOT IN ('captured', 'refunded')", table) == 0
        if ended == 0:
            return n - 1
        assert ended == -9, shop.said()
    raise AssertionError("it makes more calls than this test kills at")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", ["capture", *(["refund"] if SOAK else [])])
def test_killed_before_each_call(shop: Shop, table: str, kind: str) -> None:
    [order] = shop.orders([[]])
    if table == "refund":
        shop.enqueue("capture", [(order, "all", 1_000_000)])
        shop.work()
    killed = {call: kills(shop, table, order, call) for call in KINDS[kind]}
    print(killed)
    assert sum(killed.values()) >= LEAST[kind]
    shop.is_right(sum(killed.values()) + len(killed) + (table == "refund"))
