"""Many threads on one client: every outcome agrees with the ledger, and nothing is used up.

TAKINGS_SOAK is the number of calls: 3,000 unless it says otherwise.
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import takings
from support import HERE, Program, Sandbox, compiled

CALLS = int(os.environ.get("TAKINGS_SOAK", "3000"))
ROUNDS = 10
THREADS = 64
PER_ORDER = 25

BEFORE: list[dict[str, Any]] = [
    {"fault": "reset_before_commit"},
    {"fault": "close_before_commit"},
    {"fault": "status", "status": 503},
    {"fault": "status", "status": 502, "html": True},
    {"fault": "too_many_requests", "retry_after": "0"},
    {"fault": "raw", "text": "nonsense\r\n\r\n", "then": "close"},
    {"fault": "delay", "seconds": 0.02, "when": "before_commit"},
]
AFTER: list[dict[str, Any]] = [
    {"fault": "lost_answer"},
    {"fault": "reset_after_commit"},
    {"fault": "reset_mid_answer"},
    {"fault": "close_mid_answer"},
    {"fault": "cut_body"},
    {"fault": "status", "status": 500, "when": "after_commit"},
    {"fault": "status", "status": 200, "html": True, "when": "after_commit"},
    {"fault": "status", "status": 307, "when": "after_commit"},
    {"fault": "created_without_id"},
    {"fault": "leftover", "text": "HTTP/1.1 201 Created\r\nCapture-Id: no\r\n\r\n"},
    {"fault": "close_idle"},
    {"fault": "delay", "seconds": 0.02, "when": "after_commit"},
]
# Refusals come where nothing was captured before: Klarna answers a known key with its capture.
REFUSED: list[dict[str, Any]] = [
    {"fault": "status", "status": 400},
    {"fault": "status", "status": 401, "html": True},
    {"fault": "status", "status": 403},
    {"fault": "status", "status": 404},
]


def faults(luck: random.Random) -> list[dict[str, Any]]:
    """The faults for the requests of one order, in turn; every third request has no fault."""
    kinds = REFUSED + BEFORE if luck.random() < 0.3 else AFTER + BEFORE
    fine: dict[str, Any] = {"fault": "delay", "seconds": 0}
    return [fine if luck.random() < 0.33 else luck.choice(kinds) for _ in range(PER_ORDER)]


@dataclass
class Ended:
    order_id: str
    key: str
    kind: str
    attempts: int
    capture_id: str


@dataclass
class Use:
    kibibytes: int
    threads: int
    descriptors: int


@pytest.fixture(scope="module", params=["c", "python"])
def many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[str | Path]:
    if request.param == "python":
        return [sys.executable, HERE / "hosts/many.py"]
    folder = tmp_path_factory.mktemp("many")
    return [compiled(HERE / "c/many.c", folder / "many")]


def calls(
    sandbox: Sandbox,
    many: list[str | Path],
    *,
    amount: int,
    rounds: int,
    threads: int,
    descriptors: int,
) -> tuple[list[Ended], list[Use]]:
    luck = random.Random(amount)
    lines: list[str] = []
    per_round = amount // rounds
    for number in range(rounds):
        made: list[str] = []
        while len(made) < per_round:
            order_id = sandbox.order(*faults(luck))
            keys = min(PER_ORDER, per_round - len(made))
            made += [f"{order_id} {uuid.uuid4()}\n" for _ in range(keys)]
        luck.shuffle(made)
        lines += made
        if number < rounds - 1:
            lines += ["\n"] * threads
    # With several arenas malloc would keep in each what was freed, by luck of the threads.
    one_arena = {"MALLOC_ARENA_MAX": "1"}
    command = [*many, sandbox.url, str(threads), str(descriptors)]
    with Program(*command, environment=one_arena) as program:
        output = program.end(within=120 + amount / 50, given="".join(lines))
    ended: list[Ended] = []
    use: list[Use] = []
    for line in output.splitlines():
        words = line.split()
        if words[0] == "use":
            use.append(Use(*map(int, words[1:])))
        else:
            order_id, key, kind, attempts, capture_id = words
            ended.append(Ended(order_id, key, kind, int(attempts), capture_id))
    assert len(ended) == per_round * rounds
    assert len(use) == rounds + 2
    return ended, use


def agree(sandbox: Sandbox, ended: list[Ended]) -> Counter[str]:
    """Every outcome against the ledger, one by one; then the unknown ones are asked for."""
    mine = {end.order_id for end in ended}
    entries: dict[str, list[str]] = {}
    for entry in sandbox.ledger():
        if entry["order_id"] in mine:
            key = entry["idempotency_key"]
            entries.setdefault(key, []).append(entry["capture_id"])
    assert all(len(ids) == 1 for ids in entries.values()), "captured twice"
    for end in ended:
        ids = entries.pop(end.key, [])
        match end.kind:
            case "capture":
                assert ids == [end.capture_id], end
            case "rejected" | "not_sent":
                assert ids == [], end
            case _:
                assert end.kind == "outcome_unknown", end
    # Every entry of the ledger was matched with a call above: no capture is left.
    unknown = [end for end in ended if end.kind == "outcome_unknown"]
    known = {end.key for end in ended}
    assert not [key for key in entries if key not in known]
    # Calls that sent nothing have left their faults waiting. A refusal among those would not be
    # about the key, as Klarna's own refusals are.
    for order_id in {end.order_id for end in unknown}:
        sandbox.drop_faults(order_id)
    with (
        takings.Client("sandbox", "sandbox", base_url=sandbox.url, backoff=0.001) as client,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda end: settled(client, end), unknown))
    held = {entry["idempotency_key"]: entry["capture_id"] for entry in sandbox.ledger()}
    for end, capture in zip(unknown, answers, strict=True):
        assert held.get(end.key) == (capture.capture_id if capture else None), end
    return Counter(end.kind for end in ended)


def settled(client: takings.Client, end: Ended) -> takings.Capture | None:
    """Calls again with the same key, as a shop would, until the outcome is known."""
    for _ in range(PER_ORDER):
        try:
            return client.capture(end.order_id, captured_amount=1, idempotency_key=end.key)
        except takings.Rejected:
            return None
        except (takings.OutcomeUnknown, takings.NotSent):
            continue
    raise AssertionError(f"never settled: {end}")


def test_outcomes_agree_with_the_ledger_and_use_is_flat(
    sandbox: Sandbox, many: list[str | Path]
) -> None:
    ended, use = calls(
        sandbox, many, amount=CALLS, rounds=ROUNDS, threads=THREADS, descriptors=1024
    )
    kinds = agree(sandbox, ended)
    print(len(ended), dict(kinds), use)
    # The test is only worth something if all kinds of outcomes occur.
    assert kinds["capture"] > CALLS * 0.3
    assert min(kinds["rejected"], kinds["outcome_unknown"]) > CALLS * 0.01
    before, rounds, after = use[0], use[1:-1], use[-1]
    # A call starts no thread. Of those that called, the last one may be about to end.
    assert max(used.threads for used in rounds) <= before.threads + 1
    assert after.threads == before.threads
    assert after.descriptors == before.descriptors
    # A thread may begin a connection and then be given one that came free: two for each at most.
    most = max(used.descriptors for used in rounds)
    assert most <= before.descriptors + 2 * THREADS + 8
    # By the third round all memory for reuse has been allocated. Each remembered key takes less
    # than half a KiB.
    assert rounds[-1].kibibytes < rounds[2].kibibytes + 1024 + CALLS // 2, use


def test_few_descriptors_are_enough(sandbox: Sandbox, many: list[str | Path]) -> None:
    ended, use = calls(sandbox, many, amount=600, rounds=2, threads=8, descriptors=32)
    kinds = agree(sandbox, ended)
    assert kinds["not_sent"] == 0
    assert use[-1].descriptors == use[0].descriptors


@pytest.mark.parametrize("descriptors", [32, 24])
def test_too_few_descriptors_send_nothing(
    sandbox: Sandbox, many: list[str | Path], descriptors: int
) -> None:
    """More threads than descriptors: a call without a descriptor ends as `not_sent`."""
    ended, use = calls(
        sandbox, many, amount=1200, rounds=2, threads=THREADS, descriptors=descriptors
    )
    kinds = agree(sandbox, ended)
    print(dict(kinds))
    assert kinds["not_sent"] > 0
    # A thread that gets a descriptor captures. The others are through with the list at once.
    assert kinds["capture"] > 0
    assert use[-1].descriptors == use[0].descriptors
