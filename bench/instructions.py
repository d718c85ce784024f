"""Counts the instructions of the pure halves of a capture, and the system calls of a whole one on
each surface, and compares them with instructions.json.

    bench/instructions.py           compares; fails where one changed by more than the tolerance
    bench/instructions.py --write   counts and writes them, after a change that was meant

The system calls are those of the libraries that `make` builds for the tests, over TLS on a
connection that is there. An optimised build makes the same ones.

Another compiler, C library or architecture counts otherwise: then the program says so and compares
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KEPT = HERE / "instructions.json"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Runs of a half: what one costs is the difference, without the start of the program.
FEW, MORE = 10, 110
FEW_LONG, MORE_LONG = 1, 6
# An answer that comes in two pieces takes a wait and a read more.
MOST_CALLS_APART = 0.5


def check_programs() -> None:
    """Ends with the command that installs them if a program that counts is missing."""
    missing = [name for name in ("valgrind", "strace") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"there is no {' and no '.join(missing)}: apt-get install valgrind strace")


def output(*command: str | Path) -> str:
    ended = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT)
    return ended.stdout


def counted_with() -> dict[str, str]:
    """The facts that decide on the figures beside the sources."""
    return {
        "rustc": output("rustc", "--version").split()[1],
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
    }


def built() -> Path:
    """The program that runs a half, as takings is shipped."""
    cargo = ["cargo", "build", "--quiet", "--locked", "--release"]
    output(*cargo, "--package", "takings-bench", "--bin", "bench-halves")
    return TARGET / "release" / "bench-halves"


def count(program: Path, half: str) -> int:
    """Instructions of one run of a half."""

    def collected(times: int) -> int:
        told = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                program,
                half,
                str(times),
            ],
            check=True,
            text=True,
            capture_output=True,
            # The environment of a program moves its stack, and with that a few instructions.
            env={"PATH": os.environ["PATH"]},
        ).stderr
        return int(re.findall(r"Collected : (\d+)", told)[-1])

    few, more = (FEW_LONG, MORE_LONG) if "lines" in half else (FEW, MORE)
    return round((collected(more) - collected(few)) / (more - few))


def system_calls() -> dict[str, float]:
    """System calls of one more capture, by surface."""
    with tempfile.TemporaryDirectory(prefix="takings-calls-") as folder:
        built = run.built_for_tests(Path(folder))
        with run.server(built.programs / "bench-server") as server:
            bench = run.Bench(built, server, "tls")

            def each(contender: run.Contender) -> float:
                few, more = (bench.system_calls(contender, count) for count in (FEW, MORE))
                return round((more - few) / (MORE - FEW), 1)

            ours = {
                f"{one.language} {one.name}".replace(" takings", ""): one
                for one in built.contenders()
                if one.is_takings and one.one_by_one and not one.only_many_lines
            }
            # a busy machine cuts answers in two: the least of three is the library's own
            return {name: min(each(one) for _ in range(3)) for name, one in ours.items()}


def compare(kept: dict[str, Any], counts: dict[str, int], calls: dict[str, float]) -> bool:
    tolerance = float(kept["tolerance"])
    kept_calls = kept.get("system_calls", {})
    good = list(kept["counts"]) == list(counts) and list(kept_calls) == list(calls)
    if not good:
        print("the halves or the surfaces are others than those in instructions.json")
    for half, found in counts.items():
        before = kept["counts"].get(half)
        if before is None:
            continue
        change = found / before - 1
        mark = "" if abs(change) <= tolerance else "  <-- beyond the tolerance"
        good = good and not mark
        print(f"{half:26}{before:>12,}{found:>12,}{change:>+8.1%}{mark}")
    for surface, made in calls.items():
        apart = made - kept_calls.get(surface, made)
        mark = "" if abs(apart) <= MOST_CALLS_APART else "  <-- beyond the tolerance"
        good = good and not mark
        name = f"system calls, {surface}"
        print(f"{name:26}{made - apart:>12,.1f}{made:>12,.1f}{apart:>+8.1f}{mark}")
    if not good:
        print("If this was meant, type: bench/instructions.py --write, and commit the file.")
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="write instructions.json")
    given = parser.parse_args()
    here = counted_with()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if not given.write and kept.get("counted_with") != here:
        print(f"NOT COMPARED: counted with {kept.get('counted_with')}, here is {here}")
        return 0
    check_programs()
    program = built()
    halves = output(program).splitlines()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda half: count(program, half), halves)
        counts = dict(zip(halves, found, strict=True))
    calls = system_calls()
    if given.write:
        new = {"counted_with": here, "tolerance": kept.get("tolerance", 0.05), "counts": counts}
        new["system_calls"] = calls
        KEPT.write_text(json.dumps(new, indent=2) + "\n")
        print(KEPT.read_text())
        return 0
    return 0 if compare(kept, counts, calls) else 1


if __name__ == "__main__":
    sys.exit(main())
