"""The C programs of the suite under AddressSanitizer, LeakSanitizer and
UndefinedBehaviorSanitizer.

The programs are instrumented, the library is the one that is shipped: its allocations are seen
(they go through the same malloc), its own reads and writes are not. valgrind, in ffi-c/tests,
sees those.

fork.c runs under valgrind alone: the allocator of AddressSanitizer does not take its locks before a
fork, as malloc does. If a thread was allocating at the fork, the child waits for ever.

No test checks for data races. ThreadSanitizer needs a standard library of Rust that is built with
it, which only a nightly toolchain with its sources can do. helgrind reports each atomic of an
uninstrumented library as a race.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import HERE, ROOT, Program, Sandbox, compiled

SANITIZERS = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
]
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=66:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        **OPTIONS,
        "KLARNA_BASE_URL": sandbox.url,
        "KLARNA_USERNAME": "sandbox",
        "KLARNA_PASSWORD": "sandbox",
        "KLARNA_API_KEY": "",
        "KLARNA_REGION": "",
        "KLARNA_ENVIRONMENT": "",
    }


@pytest.mark.parametrize("source", ["functions", "threads"])
def test_the_c_suite_is_clean(sandbox: Sandbox, tmp_path: Path, source: str) -> None:
    program = compiled(ROOT / f"ffi-c/tests/c/{source}.c", tmp_path / source, *SANITIZERS)
    orders = [sandbox.order()]
    if source == "functions":
        orders.append(sandbox.order({"fault": "lost_answer"}))
    variables = environment(sandbox)
    with Program(program, sandbox.url, *orders, environment=variables) as running:
        output = running.end(within=120)
    if source == "functions":
        assert output == "done\n"
        assert len(sandbox.ledger(orders[1])) == 1
    else:
        assert int(output) == len(sandbox.ledger(orders[0]))


def test_many_threads_and_faults_are_clean(sandbox: Sandbox, tmp_path: Path) -> None:
    program = compiled(HERE / "c/many.c", tmp_path / "many", *SANITIZERS)
    faults: list[dict[str, Any]] = [{"fault": "lost_answer"}, {"fault": "status", "status": 503}]
    lines = [f"{sandbox.order(*faults)} key-{place}\n" for place in range(20)]
    with Program(program, sandbox.url, "8", "1024", environment=OPTIONS) as running:
        output = running.end(within=120, given="".join(lines))
    assert sum(" capture " in line for line in output.splitlines()) == 20


# Many: what a register or the stack still points at by chance does not count as lost.
LEAK = "for (int i = 0; i < 100; i++) takings_json_new();"
AFTER_FREE = (
    "takings_json_t *json = takings_json_new(); takings_json_free(json);"
    "return *(volatile char *)json;"
)
OVERFLOW = "volatile int most = 2147483647; most += argc;"


@pytest.mark.parametrize("body", [LEAK, AFTER_FREE, OVERFLOW])
def test_they_would_find(tmp_path: Path, body: str) -> None:
    source = tmp_path / "wrong.c"
    source.write_text(
        '#include "takings.h"\n'
        f"int main(int argc, char **argv) {{ (void)argv; (void)argc; {body} return 0; }}\n"
    )
    program = compiled(source, tmp_path / "wrong", *SANITIZERS)
    with Program(program, environment=OPTIONS) as running:
        _, complaints = running.process.communicate(timeout=60)
    assert running.process.returncode != 0
    assert "runtime error" in complaints or "Sanitizer" in complaints, complaints
