"""The harness with takings' own contenders, as built for the tests: few captures, no figures."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import instructions
import pytest
import run
from run import Bench, Built, Contender, Server, Spent, Workload


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run.built_for_tests(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[Server]:
    with run.server(built.programs / "bench-server") as server:
        yield server


def ours(built: Built) -> list[Contender]:
    return [contender for contender in built.contenders() if contender.is_takings]


@pytest.mark.parametrize("scheme", ["tls", "plain"])
def test_every_workload_is_done(built: Built, server: Server, scheme: str) -> None:
    bench = Bench(built, server, scheme)
    for contender in [*ours(built), *built.contenders()[:2]]:
        for workload in run.workloads(quick=True):
            # plain HTTP differs from TLS in one thing only
            tried = scheme == "tls" or workload.name == "one after another"
            if tried and contender.makes(workload):
                few = min(workload.count, 3 + workload.concurrency)
                spent = bench.measure(contender, workload, few)
                assert spent.wall > 0
                assert spent.cpu > 0
                assert spent.peak_kib > 0


def test_nobody_wins_by_doing_less(built: Built, server: Server, tmp_path: Path) -> None:
    bench = Bench(built, server, "plain")
    other = json.loads(server.requests[1].read_text())
    del other["description"]
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(other))
    server.requests[2] = wrong
    for contender in ours(built):
        with pytest.raises(SystemExit, match="0 of 3 captures were made"):
            bench.run(contender, Workload("less", 3, lines=2), 3)


def test_a_key_counts_once(server: Server) -> None:
    command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    key = "6a3f8d1e-0b0c-4d66-8f2b-0c9f3d5f7a11"
    for name, value in {
        "Authorization": "Basic YmVuY2g6YmVuY2gtcGFzc3dvcmQ=",
        "Content-Type": "application/json",
        "Klarna-Idempotency-Key": key,
    }.items():
        command += ["--header", f"{name}: {value}"]
    url = f"{server.urls['plain']}/ordermanagement/v1/orders/{run.ORDER_ID}/captures"
    command += ["--noproxy", "*", "--data-binary", f"@{server.requests[1]}", url]
    assert [subprocess.check_output(command, text=True) for _ in range(2)] == ["201", "400"]


class Pretended(Bench):
    """No program runs: a capture costs as much as the name of its program says."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def measure(self, contender: Contender, workload: Workload, count: int) -> Spent:
        each = float(contender.command[0])
        return Spent(wall=1 + count * each, cpu=2 + count * each, peak_kib=2048)


class NoServer:
    def cpu(self) -> float:
        return 0


def test_the_start_is_not_counted_and_ratios_are_of_one_round() -> None:
    contenders = [
        Contender("reqwest::blocking", "Rust", ("0.002",)),
        Contender("takings", "Rust", ("0.001",)),
    ]
    workload = Workload("one after another", 10)
    bench = Pretended(cast(Server, NoServer()))
    figures = run.rounds_of(bench, contenders, [workload], rounds=3)
    found = figures["one after another"]["Rust", "takings"]
    assert found.cpu_ms == pytest.approx([1, 1, 1])
    rows = run.judged({}, figures)
    assert [row[1:] for row in rows] == [
        ["0.50 x reqwest::blocking", "must ≤ 1", "met"],
    ]
    assert run.ratio([1, 2, 30], [2, 2, 10]) == 1
    assert "Rust: takings" in run.chart("one after another", figures["one after another"])
    assert "reqwest::blocking" in run.tables({"judged": rows}, figures)


def test_instructions_and_system_calls_have_a_limit() -> None:
    def told(calls: float, count: int) -> dict[str, Any]:
        steady = {"system_calls": calls, "instructions": count}
        return {"language": "Rust", "name": "takings", **steady}

    rows = run.judged({"steady": [told(9.1, 115_001), told(10.0, 115_000)]}, {})
    assert [row[3] for row in rows] == ["met", "MISSED", "MISSED", "met"]


def test_a_remembered_key_has_a_limit() -> None:
    rows = [run.judged({"key_bytes": size}, {})[0] for size in (300.0, 301.0)]
    assert [row[1:] for row in rows] == [
        ["300 bytes", "must ≤ 300 bytes", "met"],
        ["301 bytes", "must ≤ 300 bytes", "MISSED"],
    ]


def test_a_system_call_more_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {"tolerance": 0.05, "counts": {}, "system_calls": {"Rust": 6.0, "Lua": 6.0}}
    assert instructions.compare(kept, {}, {"Rust": 6.1, "Lua": 5.9})
    assert not instructions.compare(kept, {}, {"Rust": 7.0, "Lua": 6.0})
    assert "system calls, Rust" in capsys.readouterr().out
    assert not instructions.compare(kept, {}, {"Rust": 6.0})
    assert not instructions.compare({"tolerance": 0.05, "counts": {}}, {}, {"Rust": 6.0})


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="apt-get install valgrind strace"):
        instructions.check_programs()
