"""Measures takings beside what a shop would use instead; `make bench` calls it.

What the figures mean: README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ORDER_ID = "f3392f8b-6116-4073-ab96-e330819e2c07"
SAMPLE = ROOT / "examples" / "capture.json"


@dataclass(frozen=True)
class Contender:
    """A program to measure: whether it can have many captures in flight, and whether it is told
    to make one after another.

    `only_many_lines`: it differs from another in the encoding of its body alone.
    """

    name: str
    language: str
    command: tuple[str, ...]
    at_once: bool = True
    one_by_one: bool = True
    only_many_lines: bool = False

    @property
    def is_takings(self) -> bool:
        return self.name.startswith("takings")

    def command_for(self, operation: str) -> tuple[str, ...]:
        """The command of an operation beside the capture is a script of its own."""
        if operation == "capture":
            return self.command
        script = Path(self.command[-1])
        name = f"{script.stem}_{operation}{script.suffix}"
        return (*self.command[:-1], str(script.with_name(name)))

    def makes(self, workload: Workload) -> bool:
        if not (self.at_once if workload.concurrency > 1 else self.one_by_one):
            return False
        if self.only_many_lines and workload.lines == 1:
            return False
        script = Path(self.command_for(workload.operation)[-1])
        return workload.operation == "capture" or script.exists()


@dataclass(frozen=True)
class Built:
    """Where the programs are."""

    programs: Path
    python: Path
    lua_modules: Path

    def contenders(self) -> list[Contender]:
        def native(name: str, language: str, program: str) -> Contender:
            return Contender(name, language, (str(self.programs / program),))

        def printed(name: str, program: str) -> Contender:
            command = (str(self.programs / program),)
            return Contender(f"{name}, printf", "C", command, only_many_lines=True)

        def python(library: str) -> Contender:
            script = HERE / "contenders" / f"with_{library.replace(' ', '_')}.py"
            return Contender(library, "Python", (str(self.python), str(script)))

        def lua(library: str) -> Contender:
            script = HERE / "contenders" / f"with_{library}.lua"
            name = {"luasocket": "luasocket + luasec", "curl": "lua-curl"}.get(library, library)
            return Contender(name, "Lua", ("lua5.1", str(script)), at_once=False)

        def nginx(way: str) -> Contender:
            command = (str(HERE / "contenders" / "with_nginx.sh"), way)
            return Contender(way, "nginx", command, one_by_one=False)

        return [
            native("raw sockets", "Rust", "bench-raw"),
            native("reqwest::blocking", "Rust", "bench-reqwest"),
            native("takings", "Rust", "bench-takings"),
            native("libcurl easy", "C", "bench-c-curl-easy"),
            native("libcurl multi", "C", "bench-c-curl-multi"),
            native("takings", "C", "bench-c-takings"),
            printed("libcurl easy", "bench-c-curl-easy-printed"),
            printed("takings", "bench-c-takings-printed"),
            *map(
                python,
                ["requests", "urllib3", "httpx", "aiohttp", "pycurl", "pyreqwest"],
            ),
            *map(python, ["takings", "takings async"]),
            *map(lua, ["luasocket", "curl", "takings"]),
            *map(nginx, ["cosocket", "takings"]),
        ]


def built_for_tests(programs: Path) -> Built:
    """All that `make` and the tests have built, in the folder `programs`; the C is made now."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for name in ("bench-server", "bench-takings", "bench-reqwest", "bench-raw"):
        (programs / name).symlink_to(target / "debug" / name)
    shutil.copy(target / "debug" / "libtakings.so", programs / "libtakings.so.1")
    words = "-std=gnu11 -Wall -Wextra -Werror"
    strict = [*os.environ.get("CC", "cc").split(), *words.split(), f"-I{ROOT / 'include'}"]
    linked = f"{programs}/libtakings.so.1 -lcjson -lpthread -Wl,-rpath,{programs}".split()
    ours, measure = str(HERE / "contenders" / "with_takings.c"), str(HERE / "measure.c")
    for program, flags in (("bench-c-takings", []), ("bench-c-takings-printed", ["-DPRINTED"])):
        made = ["-o", str(programs / program), *linked]
        subprocess.run([*strict, *flags, ours, *made], check=True)
    subprocess.run([*strict, measure, "-o", str(programs / "bench-measure")], check=True)
    return Built(programs, target / "python" / "bin" / "python", target / "lua" / "5.1")


@dataclass(frozen=True)
class Workload:
    """`count` captures, `concurrency` at once, beyond the `base` that are made to be under way."""

    name: str
    count: int
    base: int = 1
    concurrency: int = 1
    delay_ms: int = 0
    lines: int = 1
    operation: str = "capture"


def workloads(quick: bool) -> list[Workload]:
    few = 10 if quick else 1
    return [
        Workload("load", 0, base=0),
        Workload("cold", 1, base=0),
        Workload("one after another", 2000 // few),
        Workload("64 at once, 5 ms", 3200 // few, base=64, concurrency=64, delay_ms=5),
        Workload("64 at once, 80 ms", 1280 // few, base=64, concurrency=64, delay_ms=80),
        Workload("1,000 lines", 100 // few, lines=1000),
        Workload("get_order", 500 // few, operation="get_order"),
    ]


@dataclass
class Spent:
    """The time and memory of one run of a program."""

    wall: float
    cpu: float
    peak_kib: int


@dataclass
class Server:
    """A running `bench-server`."""

    process: subprocess.Popen[str]
    ca_file: Path
    urls: dict[str, str]
    requests: dict[int, Path]

    def captured(self) -> int:
        host = self.urls["plain"].removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
            connection.request("GET", "/captured")
            return int(json.loads(connection.getresponse().read())["captured"])

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(program: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="takings-bench-") as folder:
        sample = json.loads(SAMPLE.read_text())
        requests = {}
        for lines in (1, 1000):
            request = {
                **sample,
                "captured_amount": sample["captured_amount"] * lines,
                "order_lines": sample["order_lines"] * lines,
            }
            requests[lines] = Path(folder) / f"{lines}.json"
            requests[lines].write_text(json.dumps(request))
        ca_file = Path(folder) / "ca.pem"
        with subprocess.Popen(
            [program, ca_file, *requests.values()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Server(process, ca_file, json.loads(process.stdout.readline()), requests)
            finally:
                process.stdin.close()


class Bench:
    """Runs contenders against the server."""

    def __init__(self, built: Built, server: Server, scheme: str) -> None:
        self.built = built
        self.server = server
        self.scheme = scheme
        names = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name.lower() not in names},
            "LUA_CPATH": f"{built.lua_modules}/?.so;;",
            # Writing compiled files is not the contender's own work.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.environment.pop("PYTHONPATH", None)

    def command(self, contender: Contender, workload: Workload, count: int) -> list[str]:
        delay = f"/{workload.delay_ms}ms" if workload.delay_ms else ""
        return [
            *contender.command_for(workload.operation),
            self.server.urls[self.scheme] + delay,
            ORDER_ID,
            str(self.server.ca_file),
            str(self.server.requests[workload.lines]),
            str(count),
            str(workload.concurrency),
        ]

    def run(
        self, contender: Contender, workload: Workload, count: int, *around: str, again: int = 5
    ) -> str:
        """Has `count` captures made, and checks that they were; returns the result of `around`.

        A contender that is not ours and crashes at its end, its work done (one with threads of its
        own does so at times while the interpreter ends), is run again.
        """
        before = self.server.captured()
        command = [*around, *self.command(contender, workload, count)]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            timeout=1800,
            check=False,
        )
        made = self.server.captured() - before
        told = ended.stdout.strip().rpartition("\n")[2]
        who = f"{contender.language} {contender.name}, {workload.name}"
        if ended.returncode != 0 and made == count and again and not contender.is_takings:
            print(f"{who}: crashed at its end, is run again", file=sys.stderr)
            return self.run(contender, workload, count, *around, again=again - 1)
        if ended.returncode != 0 or made != count or json.loads(told)["captured"] != count:
            raise SystemExit(f"{who}: {made} of {count} captures were made\n{told}\n{ended.stderr}")
        return ended.stderr

    def measure(self, contender: Contender, workload: Workload, count: int) -> Spent:
        with tempfile.NamedTemporaryFile() as file:
            measure = str(self.built.programs / "bench-measure")
            self.run(contender, workload, count, measure, file.name)
            return Spent(**json.loads(file.read()))

    def instructions(self, contender: Contender, count: int) -> int:
        """Of its whole run, in user space."""
        workload = Workload("instructions", count)
        told = self.run(
            contender,
            workload,
            count,
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
        )
        return int(re.findall(r"Collected : (\d+)", told)[-1])

    def system_calls(self, contender: Contender, count: int) -> int:
        with tempfile.NamedTemporaryFile("r") as file:
            workload = Workload("system calls", count)
            self.run(contender, workload, count, "strace", "-f", "-c", "-o", file.name)
            total = [line for line in file.read().splitlines() if line.endswith(" total")]
            return int(total[-1].split()[3])


Key = tuple[str, str]
"""Language and name of a contender."""


@dataclass
class Figures:
    """A contender's figures of one workload, one of each round."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    server_cpu_ms: list[float] = field(default_factory=list)


def key(contender: Contender) -> Key:
    return (contender.language, contender.name)


def rounds_of(
    bench: Bench, contenders: list[Contender], wanted: list[Workload], rounds: int
) -> dict[str, dict[Key, Figures]]:
    figures: dict[str, dict[Key, Figures]] = {workload.name: {} for workload in wanted}
    for number in range(rounds):
        for workload in wanted:
            print(f"round {number + 1} of {rounds}: {workload.name}", file=sys.stderr)
            shuffled = [contender for contender in contenders if contender.makes(workload)]
            random.shuffle(shuffled)
            for contender in shuffled:
                found = figures[workload.name].setdefault(key(contender), Figures())
                base = Spent(0, 0, 0)
                if workload.base:
                    base = bench.measure(contender, workload, workload.base)
                server_before = bench.server.cpu()
                spent = bench.measure(contender, workload, workload.base + workload.count)
                server_cpu = bench.server.cpu() - server_before
                # The workload "load" makes no capture, and its time counts as that of one.
                each = max(workload.count, 1)
                found.wall_ms.append((spent.wall - base.wall) * 1000 / each)
                found.cpu_ms.append((spent.cpu - base.cpu) * 1000 / each)
                found.peak_mib.append(spent.peak_kib / 1024)
                found.server_cpu_ms.append(server_cpu * 1000 / each)
    return figures


def steady(bench: Bench, contender: Contender, quick: bool) -> dict[str, float]:
    """Instructions and system calls of one more capture on a connection that is there."""
    few, many = (3, 13) if quick else (10, 60)

    def each(counted: Any) -> float:
        return float((counted(contender, many) - counted(contender, few)) / (many - few))

    return {"instructions": each(bench.instructions), "system_calls": each(bench.system_calls)}


def memory(bench: Bench, contender: Contender, many: int) -> dict[str, float]:
    """Peaks in MiB: loaded, after one capture, after a tenth of `many` and after all of them."""
    workload = Workload("memory", 0)
    counts = {"loaded": 0, "first": 1, "tenth": many // 10, "all": many}
    return {
        name: bench.measure(contender, workload, count).peak_kib / 1024
        for name, count in counts.items()
    }


KEY_BYTES = 300


def key_bytes(built: Built) -> float:
    """The memory that a remembered key takes."""
    program = built.programs / "bench-key"
    return statistics.median(float(subprocess.check_output([program])) for _ in range(5))


def ratio(of: list[float], to: list[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a / b if b > 0 else float("inf") for a, b in zip(of, to, strict=True))


@dataclass(frozen=True)
class Must:
    """A ratio of takings to another that has to hold; the second limit is one to reach for."""

    surface: str
    workload: str
    measure: str
    to: Key
    at_most: float | None
    or_better: float | None = None
    ours: str = "takings"


REQWEST: Key = ("Rust", "reqwest::blocking")
EASY: Key = ("C", "libcurl easy")
EASY_PRINTED: Key = ("C", "libcurl easy, printf")
MULTI: Key = ("C", "libcurl multi")
REQUESTS: Key = ("Python", "requests")
PYREQWEST: Key = ("Python", "pyreqwest")
AIOHTTP: Key = ("Python", "aiohttp")
PYCURL: Key = ("Python", "pycurl")
LUA_CURL: Key = ("Lua", "lua-curl")
COSOCKET: Key = ("nginx", "cosocket")
MUSTS = [
    Must("Rust", "one after another", "cpu_ms", EASY, 0.75, 0.6),
    Must("Rust", "one after another", "cpu_ms", REQWEST, 1.0),
    Must("C", "one after another", "cpu_ms", EASY, 0.9, 0.75),
    Must("Lua", "one after another", "cpu_ms", LUA_CURL, 0.8, 0.65),
    Must("Python", "one after another", "cpu_ms", PYCURL, 0.65, 0.5),
    Must("Python", "one after another", "cpu_ms", REQUESTS, 0.25),
    Must("Python", "cold", "cpu_ms", REQUESTS, 0.5),
    Must("Python", "cold", "cpu_ms", PYCURL, 1.0),
    Must("Rust", "64 at once, 5 ms", "cpu_ms", MULTI, 1.0, 0.8),
    Must("C", "64 at once, 5 ms", "cpu_ms", MULTI, 1.0, 0.8),
    Must("Python", "64 at once, 5 ms", "cpu_ms", PYREQWEST, 0.75, 0.6),
    Must("Python", "one after another", "cpu_ms", AIOHTTP, 0.8, 0.5, "takings async"),
    Must("Python", "64 at once, 5 ms", "cpu_ms", AIOHTTP, 0.8, 0.5, "takings async"),
    Must("Python", "64 at once, 80 ms", "cpu_ms", AIOHTTP, 0.8, 0.5, "takings async"),
    Must("Python", "cold", "cpu_ms", AIOHTTP, 0.2, None, "takings async"),
    # as many captures in the same time: a fifth of the time for each
    Must("Python", "64 at once, 5 ms", "wall_ms", REQUESTS, 0.2),
    Must("nginx", "64 at once, 5 ms", "cpu_ms", COSOCKET, 1.0, 0.8),
    # takings' program prints its JSON itself in both, libcurl's in the first alone.
    Must("C", "1,000 lines", "cpu_ms", EASY_PRINTED, 1.2, 1.0, "takings, printf"),
    Must("C", "1,000 lines", "cpu_ms", EASY, 0.8, None, "takings, printf"),
    Must("Lua", "1,000 lines", "cpu_ms", LUA_CURL, 0.9, 0.7),
    Must("Python", "1,000 lines", "cpu_ms", REQUESTS, 0.3, 0.2),
    Must("Python", "get_order", "cpu_ms", REQUESTS, 0.35, 0.25),
]

# The most instructions and system calls of one more capture, over TLS. Those of C and Lua are
# counted without the contender's own JSON, so they have to be measured apart.
INSTRUCTIONS = {"Rust": 115_000, "Python": 180_000}
SYSTEM_CALLS = {"Rust": 9, "C": 9, "Lua": 9, "Python": 10}


def verdict(value: float, must: float | None, reach: float | None) -> str:
    if must is not None and value > must:
        return "MISSED"
    if reach is not None and value > reach:
        return "short of the reach" if must is None else "met, short of the reach"
    return "met" if must is not None else "reached"


def judged(results: dict[str, Any], figures: dict[str, dict[Key, Figures]]) -> list[list[str]]:
    rows = []
    limits = {"cpu_ms": "CPU", "wall_ms": "wall"}
    for must in MUSTS:
        found = figures.get(must.workload, {})
        ours, theirs = found.get((must.surface, must.ours)), found.get(must.to)
        if ours is None or theirs is None:
            continue
        value = ratio(getattr(ours, must.measure), getattr(theirs, must.measure))
        limit = " / ".join(
            f"{kind} ≤ {limit:g}"
            for kind, limit in (("must", must.at_most), ("reach", must.or_better))
            if limit is not None
        )
        rows.append(
            [
                f"{must.surface} {must.ours}, {must.workload}, {limits[must.measure]}",
                f"{value:.2f} x {must.to[1]}",
                limit,
                verdict(value, must.at_most, must.or_better),
            ]
        )
    for (language, name), found_80 in figures.get("64 at once, 80 ms", {}).items():
        if name.startswith("takings"):
            rate = 1000 / statistics.median(found_80.wall_ms)
            rows.append(
                [
                    f"{language} {name}, 64 at once, 80 ms",
                    f"{rate:.0f} captures/s",
                    "must ≥ 760/s",
                    "met" if rate >= 760 else "MISSED",
                ]
            )
    for told in results.get("steady", []):
        most = SYSTEM_CALLS.get(told["language"])
        if told["name"] == "takings" and most is not None:
            rows.append(
                [
                    f"{told['language']} takings, system calls of one more capture",
                    f"{told['system_calls']:.1f}",
                    f"must ≤ {most}",
                    # a wake-up for nothing now and then is the machine's
                    verdict(round(told["system_calls"]), most, None),
                ]
            )
        many = INSTRUCTIONS.get(told["language"])
        if told["name"] == "takings" and many is not None:
            rows.append(
                [
                    f"{told['language']} takings, instructions of one more capture",
                    f"{told['instructions']:,.0f}",
                    f"must ≤ {many:,}",
                    verdict(told["instructions"], many, None),
                ]
            )
    load = results.get("import_ms")
    if load is not None:
        rows.append(
            [
                "Python takings, import beyond an empty interpreter",
                f"{load:.1f} ms of CPU",
                "must ≤ 10 ms / reach ≤ 5 ms",
                verdict(load, 10, 5),
            ]
        )
    for told in results.get("memory", []):
        if not told["name"].startswith("takings"):
            continue
        over, grown = told["first"] - told["loaded"], told["all"] - told["tenth"]
        who = f"{told['language']} {told['name']}"
        rows.append(
            [
                f"{who}, memory over the host after the first call",
                f"{over:.1f} MiB",
                "must ≤ 4 MiB",
                verdict(over, 4, None),
            ]
        )
        rows.append(
            [
                f"{who}, memory from a tenth of the captures to all",
                f"{grown:+.1f} MiB",
                "flat",
                "met" if grown <= 0.5 else "GROWS",
            ]
        )
    if "key_bytes" in results:
        rows.append(
            [
                "a remembered key",
                f"{results['key_bytes']:.0f} bytes",
                f"must ≤ {KEY_BYTES} bytes",
                verdict(results["key_bytes"], KEY_BYTES, None),
            ]
        )
    for size in results.get("sizes", []):
        rows.append(
            [
                size["what"],
                f"{size['mb']:.2f} MB",
                f"must ≤ {size['limit_mb']} MB",
                verdict(size["mb"], size["limit_mb"], None),
            ]
        )
    return rows


def import_ms(built: Built, rounds: int) -> float:
    """Processor time of `import takings` beyond an interpreter that imports nothing."""

    def cpu(code: str) -> float:
        with tempfile.NamedTemporaryFile() as file:
            command = [
                str(built.programs / "bench-measure"),
                file.name,
                str(built.python),
                "-c",
                code,
            ]
            # twice: the first writes the compiled files
            subprocess.run([built.python, "-c", code], check=True)
            subprocess.run(command, check=True)
            return float(json.loads(file.read())["cpu"]) * 1000

    return statistics.median(cpu("import takings") - cpu("pass") for _ in range(4 * rounds))


def sizes(target: Path) -> list[dict[str, Any]]:
    found = [("shared library, stripped", target / "release" / "libtakings.so", 5)]
    found += [("wheel", wheel, 3) for wheel in (target / "wheel").glob("takings-*.whl")]
    found += [("Lua module", target / "lua" / "5.1" / "takings.so", 5)]
    return [
        {"what": what, "mb": path.stat().st_size / 1e6, "limit_mb": limit}
        for what, path, limit in found
    ]


def table(title: str, heads: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    # words to the left, figures to the right
    lefts = [all(not row[column][:1].isdigit() for row in rows) for column in range(len(heads))]

    def line(row: list[str]) -> str:
        cells = zip(row, widths, lefts, strict=True)
        return "| " + " | ".join(c.ljust(w) if left else c.rjust(w) for c, w, left in cells) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"\n{title}\n", line(heads), rule, *map(line, rows)])


def tables(results: dict[str, Any], figures: dict[str, dict[Key, Figures]]) -> str:
    text = []
    for name, found in figures.items():
        each = "" if name == "load" else " a capture"
        rows = []
        for who, of in sorted(found.items(), key=lambda item: statistics.median(item[1].cpu_ms)):
            rows.append(
                [
                    who[0],
                    who[1],
                    f"{statistics.median(of.cpu_ms):.3f}",
                    f"{ratio(of.cpu_ms, found[REQWEST].cpu_ms):.2f}" if REQWEST in found else "",
                    f"{ratio(of.cpu_ms, found[REQUESTS].cpu_ms):.2f}" if REQUESTS in found else "",
                    f"{statistics.median(of.wall_ms):.3f}",
                    f"{statistics.median(of.peak_mib):.1f}",
                    f"{statistics.median(of.server_cpu_ms):.3f}",
                ]
            )
        heads = [
            "",
            "contender",
            f"CPU ms{each}",
            "x reqwest",
            "x requests",
            f"wall ms{each}",
            "peak MiB",
            "server CPU ms",
        ]
        text.append(table(name, heads, rows))
    if results.get("steady"):
        rows = [
            [
                told["language"],
                told["name"],
                f"{told['instructions']:,.0f}",
                f"{told['system_calls']:.1f}",
            ]
            for told in sorted(results["steady"], key=lambda told: float(told["instructions"]))
        ]
        text.append(
            table(
                "one more capture on a connection that is there",
                ["", "contender", "instructions", "system calls"],
                rows,
            )
        )
    if results.get("memory"):
        rows = [
            [
                told["language"],
                told["name"],
                *(f"{told[when]:.1f}" for when in ("loaded", "first", "tenth", "all")),
            ]
            for told in results["memory"]
        ]
        many = results["memory_captures"]
        heads = ["", "contender", "loaded", "1 capture", f"{many // 10:,}", f"{many:,} captures"]
        text.append(table("peak memory, MiB", heads, rows))
    rows = results["judged"]
    text.append(
        table("what has to hold, and what to reach for", ["figure", "is", "limit", ""], rows)
    )
    return "\n".join(text)


def chart(workload: str, figures: dict[Key, Figures]) -> str:
    """Processor time of a call of this workload, as SVG: a bar for each contender."""
    bars = sorted(
        (statistics.median(of.cpu_ms) * 1000, f"{who[0]}: {who[1]}", who[1].startswith("takings"))
        for who, of in figures.items()
    )
    row, left, width = 22, 190, 700
    scale = (width - left - 80) / max(bars)[0]
    lines = []
    for number, (value, name, ours) in enumerate(bars):
        y = 34 + number * row
        lines += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>',
            f'<rect x="{left}" y="{y}" width="{max(value * scale, 1):.1f}" height="16" '
            f'fill="{"#0a7d5a" if ours else "#9aa5b1"}"/>',
            f'<text x="{left + value * scale + 6:.1f}" y="{y + 13}">{value:.0f} µs</text>',
        ]
    height = 34 + len(bars) * row + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12" fill="#1f2933" role="img">',
            f"<title>Processor time of the client: {workload}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            '<text x="10" y="20" font-weight="bold">Processor time of the client for one call '
            f"({workload})</text>",
            *lines,
            "</svg>\n",
        ]
    )


def file_name(workload: str) -> str:
    return re.sub("[^a-z0-9]+", "-", workload.lower())


def machine() -> dict[str, str | int | None]:
    processor = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return {
        "processor": processor[0] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rustc": rustc.stdout.strip(),
        "load": f"{os.getloadavg()[0]:.1f} when it began",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--quick", action="store_true", help="a tenth of the captures: a try-out")
    parser.add_argument("--plain", action="store_true", help="over plain HTTP instead of TLS")
    parser.add_argument("--only", default="", help="only contenders that match this pattern")
    parser.add_argument("--workload", default="", help="only workloads that match this pattern")
    parser.add_argument("--no-steady", action="store_true", help="no instructions, no system calls")
    parser.add_argument("--memory", type=int, default=100_000, metavar="CAPTURES", help="0: none")
    parser.add_argument("--target", type=Path, default=ROOT / "target" / "bench", help="the build")
    parser.add_argument("--out", type=Path, help="a folder for results.json, .md and .svg")
    given = parser.parse_args()

    target = given.target.resolve()
    built = Built(target / "release", target / "venv" / "bin" / "python", target / "lua" / "5.1")
    contenders = [
        contender
        for contender in built.contenders()
        if re.search(given.only, f"{contender.language} {contender.name}")
    ]
    steady_ones = [of for of in contenders if of.one_by_one and not of.only_many_lines]
    wanted = [
        workload for workload in workloads(given.quick) if re.search(given.workload, workload.name)
    ]
    results: dict[str, Any] = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "transport": "plain" if given.plain else "TLS",
        "rounds": given.rounds,
    }
    with server(built.programs / "bench-server") as running:
        bench = Bench(built, running, "plain" if given.plain else "tls")
        figures = rounds_of(bench, contenders, wanted, given.rounds)
        results["workloads"] = {
            name: [
                {
                    "language": who[0],
                    "name": who[1],
                    **{measure: values for measure, values in vars(of).items()},
                }
                for who, of in found.items()
            ]
            for name, found in figures.items()
        }
        if not given.no_steady:
            results["steady"] = []
            for contender in steady_ones:
                print(f"instructions: {contender.language} {contender.name}", file=sys.stderr)
                results["steady"].append(
                    {
                        "language": contender.language,
                        "name": contender.name,
                        **steady(bench, contender, given.quick),
                    }
                )
        if given.memory:
            results["key_bytes"] = key_bytes(built)
            results["memory_captures"] = given.memory
            results["memory"] = []
            for contender in steady_ones:
                if contender.is_takings:
                    print(f"memory: {contender.language} {contender.name}", file=sys.stderr)
                    results["memory"].append(
                        {
                            "language": contender.language,
                            "name": contender.name,
                            **memory(bench, contender, given.memory),
                        }
                    )
    if "load" in figures:
        results["import_ms"] = import_ms(built, given.rounds)
    results["sizes"] = sizes(target)
    results["judged"] = judged(results, figures)
    text = tables(results, figures)
    print(text)
    out = given.out or target
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "results.md").write_text(text.lstrip("\n") + "\n")
    for name, found in figures.items():
        # "load" makes no call.
        if name != "load" and found:
            (out / f"{file_name(name)}.svg").write_text(chart(name, found))
    print(f"\nwritten: results.json, results.md and a chart of each workload in {out}")


if __name__ == "__main__":
    main()
