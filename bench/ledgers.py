"""The parts that the benches of both engines share: programs, workers, figures, command line."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from run import ROOT, SAMPLE, Server, machine, table

At = TypeVar("At")
Scale = TypeVar("Scale")

AT_ONCE = 1000
"""Rows of one transaction."""

PATIENCE = 300
"""Seconds without a capture after which nobody waits any longer."""


@dataclass
class Figure:
    """A figure beside its goal. `is_met` is None where it has none."""

    what: str
    value: str
    goal: str = ""
    is_met: bool | None = None

    def row(self) -> list[str]:
        verdict = {None: "", True: "met", False: "MISSED"}[self.is_met]
        return [self.what, self.value, self.goal, verdict]


@dataclass(frozen=True)
class Programs:
    """The programs, and the server that plays Klarna."""

    takings: Path
    server: Server
    hands: int

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {
            "KLARNA_USERNAME": "bench",
            "KLARNA_PASSWORD": "bench-password",
            "KLARNA_BASE_URL": f"{self.server.urls['tls']}/parcels",
            "KLARNA_CA_FILE": str(self.server.ca_file),
        }

    def command(self, ledger: str, *words: str) -> list[str]:
        return [str(self.takings), "--ledger", ledger, *words]

    @contextlib.contextmanager
    def running(self, ledger: str, log: Path, *words: str) -> Iterator[Worker]:
        """A worker, killed in the end if it still runs."""
        with log.open("a") as said:
            process = subprocess.Popen(
                self.command(ledger, "worker", "--hands", str(self.hands), *words),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        worker = Worker(process, log)
        try:
            yield worker
        finally:
            if process.poll() is None:
                worker.kill()

    def captured(
        self,
        count: int,
        workers: list[Worker],
        often: float = 0.05,
        note: Callable[[int], None] = lambda captured: None,
    ) -> None:
        """Waits until the server has made so many captures; `note` hears how many there are."""
        last, changed = -1, time.monotonic()
        while last < count:
            time.sleep(often)
            captured = self.server.captured()
            if captured != last:
                last, changed = captured, time.monotonic()
            ended = any(worker.process.poll() is not None for worker in workers)
            if ended or time.monotonic() - changed > PATIENCE:
                log = workers[0].log.read_text()
                raise SystemExit(f"{captured} of {count} captures were made\n{log}")
            note(captured)


@dataclass
class Worker:
    """A running worker."""

    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """Lets it write how the requests under way ended."""
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its threads."""
        spent = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                spent += int((task / "schedstat").read_text().split()[0])
        return spent / 1e9

    def resident(self) -> float:
        """The memory that it holds now, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s*(\d+)", status)
        return int(found[1]) / 1024 if found else 0


def request() -> str:
    sample = json.loads(SAMPLE.read_text())
    return json.dumps({name: sample[name] for name in sample if name not in NAMED})


NAMED = ("captured_amount", "reference")


def order(number: int) -> str:
    # The ids of orders are random, and so are their places in the index.
    number = number * 0x9E37_79B9_7F4A_7C15 % 2**64
    return f"{number >> 32:08x}-{number >> 16 & 0xFFFF:04x}-4073-ab96-{number & 0xFFFF:012x}"


def rows(what: str, count: int, wall: float, cpu: float) -> Figure:
    value = f"{count / wall:,.0f} rows/s, {cpu / count * 1e6:.0f} µs of CPU a row"
    return Figure(what, value, "≥ 10,000 rows/s", count / wall >= 10_000)


Measured = Callable[[At, Scale], Iterator[Figure]]


def measure(
    measures: Mapping[str, Measured[At, Scale]], at: At, scale: Scale, only: str
) -> list[Figure]:
    figures = []
    for name, measured in measures.items():
        if re.search(only, name):
            print(name, file=sys.stderr)
            for figure in measured(at, scale):
                print("  " + "   ".join(filter(None, figure.row())), file=sys.stderr)
                figures.append(figure)
            print(f"  load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return figures


class Given:
    """The command line of a bench, and the place of its results."""

    def __init__(
        self, about: str | None, name: str, measures: Iterable[str], hands: int = 64
    ) -> None:
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument(
            "--quick", action="store_true", help="a twentieth of everything: a try-out"
        )
        parser.add_argument(
            "--scale", type=int, default=1, metavar="N", help="a N-th of everything"
        )
        parser.add_argument("--only", default="", help=f"a pattern of {', '.join(measures)}")
        parser.add_argument("--hands", type=int, default=hands, help="requests of a worker at once")
        parser.add_argument(
            "--target", type=Path, default=ROOT / "target" / "bench", help="the build"
        )
        parser.add_argument("--out", type=Path, help=f"a folder for {name}.json and {name}.md")
        given = parser.parse_args()
        # The programs and all that they start share two cores with this one.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        target = given.target.resolve()
        self.name = name
        self.only: str = given.only
        self.hands: int = given.hands
        self.divisor: int = 20 if given.quick else given.scale
        self.programs = target / "release"
        self.out: Path = given.out or target
        self.out.mkdir(parents=True, exist_ok=True)
        self.load = os.getloadavg()[0]

    def write(self, title: str, scale: Mapping[str, Any], figures: list[Figure]) -> None:
        load = os.getloadavg()[0]
        results = {
            "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "of": title,
            "load_at_start": self.load,
            "load_at_end": load,
            "scale": dict(scale),
            "figures": [vars(figure) for figure in figures],
        }
        loads = f"the machine's load {self.load:.1f} at the start, {load:.1f} at the end"
        rows = [figure.row() for figure in figures]
        text = table(f"{title}, {loads}", ["figure", "is", "goal", ""], rows)
        print(text)
        places = [self.out / f"{self.name}.{kind}" for kind in ("json", "md")]
        places[0].write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        places[1].write_text(text.lstrip("\n") + "\n")
        print(f"\nwritten: {self.name}.json and {self.name}.md in {self.out}")
