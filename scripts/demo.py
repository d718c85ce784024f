"""Captures an order from each language, then shows the promise: the sandbox captures and loses the
answer, and the money moves once all the same. Then come a whole order's life: parcels, tracking,
a refund whose answer is lost, the rest released; and a file of parcels in the ledger, whose worker
is killed twice. Ends with 1 and the reason if this is not so.

    make demo                           against the sandbox
    make demo ORDER_ID=... FILE=...     against the Klarna that KLARNA_* names

Standard library only, but for that Klarna; `make demo` has built everything before.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SAMPLE = ROOT / "examples" / "capture.json"

# Each takes an order id, a file and, optionally, a key. KLARNA_* has the address and the account.
PROGRAMS: dict[str, list[str | Path]] = {
    "Rust": [TARGET / "debug" / "examples" / "capture"],
    "C": [TARGET / "examples" / "capture-c"],
    "C++": [TARGET / "examples" / "capture-cpp"],
    "Python": [TARGET / "python" / "bin" / "python", ROOT / "examples" / "capture.py"],
    "Lua": ["lua", ROOT / "examples" / "capture.lua"],
}

# Each takes an order id and lives the order's life, one line for each step.
LIVES: dict[str, list[str | Path]] = {
    "Rust": [TARGET / "debug" / "examples" / "order"],
    "C": [TARGET / "examples" / "order-c"],
    "C++": [TARGET / "examples" / "order-cpp"],
    "Python": [TARGET / "python" / "bin" / "python", ROOT / "examples" / "order.py"],
    "Lua": ["lua", ROOT / "examples" / "order.lua"],
}

VARIABLES = (
    "KLARNA_USERNAME",
    "KLARNA_PASSWORD",
    "KLARNA_API_KEY",
    "KLARNA_REGION",
    "KLARNA_ENVIRONMENT",
    "KLARNA_BASE_URL",
)


class Broken(Exception):
    """Something the demo shows does not hold."""


def find_lua() -> tuple[str, str]:
    """The Lua that lua/find.sh chooses, and where its module was built."""
    found = subprocess.run([ROOT / "lua" / "find.sh"], capture_output=True, text=True)
    lua = found.stdout.strip()
    expect(bool(lua), found.stderr.strip())
    version = [lua, "-e", "print(jit and 'jit' or _VERSION:match('%d%.%d'))"]
    name = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
    return lua, str(TARGET / "lua" / name / "?.so")


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


@dataclass
class Run:
    capture_id: str
    key: str
    milliseconds: float


def program(surface: str, klarna: Mapping[str, str], *words: str | Path) -> tuple[str, float]:
    """Runs a surface's program once, from its start to its exit: what it printed, and the time."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= klarna
    command = [*map(str, words)]
    if command[0] == "lua":
        command[0], environment["LUA_CPATH"] = find_lua()
    began = time.perf_counter()
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Broken(f"{surface}: {why}") from None
    took = (time.perf_counter() - began) * 1000
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip()
        raise Broken(f"{surface}: exit {ended.returncode}: {said}")
    return ended.stdout, took


def capture(
    surface: str, klarna: Mapping[str, str], order_id: str, file: Path, key: str | None = None
) -> Run:
    words = [*PROGRAMS[surface], order_id, file, *([key] if key else [])]
    said, took = program(surface, klarna, *words)
    printed = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    if "capture" not in printed or "key" not in printed:
        raise Broken(f"{surface}: printed no capture and key, but {said!r}")
    return Run(printed["capture"], printed["key"], took)


def amount(minor_units: int) -> str:
    return f"{minor_units // 100}.{minor_units % 100:02}"


def say(text: str = "") -> None:
    """Each line is seen when it is true, also through a pipe."""
    print(text, flush=True)


# --- against the sandbox ------------------------------------------------------------------------


class Sandbox:
    """The stand-in Klarna's control endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.klarna = {
            "KLARNA_BASE_URL": url,
            "KLARNA_USERNAME": "sandbox",
            "KLARNA_PASSWORD": "sandbox",
        }
        # A proxy of the environment has no business with loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data, method=method)
        with self._opener.open(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def order(
        self, order_amount: int, *faults: str, on: str = "capture", name: str | None = None
    ) -> str:
        planned = [{"fault": fault, "on": on} for fault in faults]
        order = {"order_amount": order_amount, "faults": planned}
        if name:
            order["order_id"] = name
        return str(self._ask("orders", order)["order_id"])

    def ledger(self, order_id: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._ask(f"orders/{order_id}/ledger")
        return entries

    def requests(self, order_id: str) -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = self._ask(f"orders/{order_id}/requests")
        return received

    def fault(self, order_id: str, **fault: Any) -> None:
        self._ask(f"orders/{order_id}/faults", fault)

    def no_faults(self, order_id: str) -> None:
        self._ask(f"orders/{order_id}/faults", method="DELETE")

    def everything(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._ask("ledger")
        return entries

    def audit(self) -> list[Any]:
        """What moved other than it was asked, or twice."""
        complaints: list[Any] = self._ask("audit")
        return complaints

    def all_requests(self) -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = self._ask("requests")
        return received


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    # The sandbox ends with its standard input, so it cannot outlive this program in any case.
    process = subprocess.Popen(
        [TARGET / "debug" / "takings-sandbox", "--port", "0", "--parent-watch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        expect(url.startswith("http://127.0.0.1:"), f"the sandbox did not start: {url!r}")
        yield Sandbox(url)
    finally:
        process.communicate(timeout=10)


def key_of(request: Mapping[str, Any]) -> str | None:
    headers = {name.lower(): value for name, value in request["headers"]}
    return headers.get("klarna-idempotency-key")


def show_captures(klarna: Sandbox, file: Path, total: int) -> None:
    say(f"One capture of {amount(total)} from each language, each of an order of its own:")
    say()
    say(f"  {'':8}{'capture id':38}{'idempotency key':38}{'time':>7}")
    for surface in PROGRAMS:
        order_id = klarna.order(total)
        run = capture(surface, klarna.klarna, order_id, file)
        say(f"  {surface:8}{run.capture_id:38}{run.key:38}{run.milliseconds:4.0f} ms")
        booked = [
            (entry["capture_id"], entry["idempotency_key"], entry["captured_amount"])
            for entry in klarna.ledger(order_id)
        ]
        expect(
            booked == [(run.capture_id, run.key, total)],
            f"{surface}: the ledger should hold this one capture of {total}; it holds {booked}",
        )
    say()
    say(
        "The sandbox's ledger agrees with every line. The time is a whole program's, start to exit."
    )
    say()


def show_promise(klarna: Sandbox, file: Path, total: int) -> None:
    say("Now the promise. The sandbox captures, then loses the answer: it hangs up without sending")
    say("a byte. The call cannot know whether the money moved, so it asks again with the same key:")
    say()
    say(f"  {'':8}{'attempts':>8}{'captures':>10}  {'idempotency key':38}{'time':>7}")
    ledger: list[dict[str, Any]] = []
    for surface in PROGRAMS:
        # Twice the amount: nothing but the key stands between the order and a second capture.
        order_id = klarna.order(2 * total, "lost_answer", name=f"order-{surface.lower()}")
        run = capture(surface, klarna.klarna, order_id, file)
        requests, entries = klarna.requests(order_id), klarna.ledger(order_id)
        keys = {key_of(request) for request in requests}
        say(
            f"  {surface:8}{len(requests):8}{len(entries):10}  {run.key:38}"
            f"{run.milliseconds:4.0f} ms"
        )
        met = [(request["fault"], request["answered_status"]) for request in requests]
        expect(
            met == [("lost_answer", None), (None, 201)],
            f"{surface}: one lost and one answered request were expected; there were {met}",
        )
        expect(
            keys == {run.key},
            f"{surface}: every request should carry the key {run.key}; they carry {keys}",
        )
        expect(
            requests[0]["body"] == requests[1]["body"],
            f"{surface}: the second request has another body than the first",
        )
        expect(
            [entry["capture_id"] for entry in entries] == [run.capture_id],
            f"{surface}: the ledger should hold {run.capture_id} alone; it holds {entries}",
        )
        ledger += entries
    say()
    say("The sandbox's ledger of these orders holds one capture each:")
    say()
    say(f"  {'order':14}{'amount':>8}  {'idempotency key':38}capture id")
    for entry in ledger:
        say(
            f"  {entry['order_id']:14}{amount(entry['captured_amount']):>8}"
            f"  {entry['idempotency_key']:38}{entry['capture_id']}"
        )
    say()
    say(f"{len(PROGRAMS)} answers were lost; each of these {len(ledger)} orders was captured once.")


STEPS = ("captured", "captured", "tracked", "refunded", "released")


def show_lives(klarna: Sandbox) -> None:
    say()
    say("Then an order's whole life. It leaves in two parcels, a tracking number follows, one")
    say("thing comes back, and the rest is released. The refund's answer is lost on the way:")
    say()
    say(
        f"  {'':8}{'captured':>10}{'tracked':>9}{'refunded':>10}{'asked':>7}{'released':>10}"
        f"{'time':>8}"
    )
    for surface in LIVES:
        order_id = klarna.order(10_000, "lost_answer", on="refund", name=f"life-{surface.lower()}")
        said, took = program(surface, klarna.klarna, *LIVES[surface], order_id)
        lines = [line.split() for line in said.splitlines()]
        expect(
            tuple(line[0] for line in lines) == STEPS,
            f"{surface}: printed other steps than {STEPS}: {said!r}",
        )
        asked = int(lines[3][2])
        entries = klarna.ledger(order_id)
        done: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            done.setdefault(entry["kind"], []).append(entry)
        captured = sum(entry["captured_amount"] for entry in done.get("capture", []))
        refunded = [entry["refunded_amount"] for entry in done.get("refund", [])]
        released = sum(entry["amount"] for entry in done.get("release_remaining_authorization", []))
        tracked = len(done.get("append_shipping_info", []))
        say(
            f"  {surface:8}{amount(captured):>10}{tracked:9}{amount(sum(refunded)):>10}{asked:7}"
            f"{amount(released):>10}{took:5.0f} ms"
        )
        expect(
            (captured, refunded, asked, released) == (8500, [2500], 2, 1500),
            f"{surface}: 85.00 should be captured, 25.00 refunded once after two requests, and"
            f" 15.00 released; the ledger holds {entries}",
        )
    audit = klarna.audit()
    expect(audit == [], f"the sandbox's audit should be empty; it says {audit}")
    say()
    say("The sandbox's audit is empty: in each life money moved as it was asked, once.")


# --- the ledger ---------------------------------------------------------------------------------

TAKINGS: list[str | Path] = [TARGET / "debug" / "takings"]
PARCELS = 500
# The worker is killed once so many parcels are captured. The outage begins after the first time.
KILLED_AT = (100, 300)
# Every so-many-th parcel's first answer is lost.
LOST = 25


class Office:
    """The program `takings` on a ledger of its own."""

    def __init__(self, folder: Path, klarna: Sandbox) -> None:
        self.folder, self.klarna = folder, klarna
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.environment = kept | klarna.klarna | {"TAKINGS_LEDGER": str(folder / "ledger.db")}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*TAKINGS, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> str:
        with self.start(*words) as process:
            try:
                said, _ = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Broken(f"takings {' '.join(words)}: it did not end") from None
        expect(process.returncode == 0, f"takings {' '.join(words)}: {said.strip()}")
        return said

    def captured(self) -> set[str]:
        """The orders of the file that the sandbox has captured."""
        entries = self.klarna.everything()
        return {
            entry["order_id"]
            for entry in entries
            if str(entry.get("reference")).startswith("demo-")
        }

    @contextmanager
    def worker(self) -> Iterator[Callable[[Callable[[], bool]], None]]:
        """A worker that is killed at the end. Gives a function that waits for something."""
        with self.start("worker") as worker:

            def wait(until: Callable[[], bool]) -> None:
                last = time.monotonic() + 60
                while not until():
                    expect(worker.poll() is None, "the worker ended by itself")
                    expect(time.monotonic() < last, f"after {len(self.captured())} it does nothing")
                    time.sleep(0.01)

            try:
                yield wait
            finally:
                worker.kill()


def write_parcels(klarna: Sandbox, file: Path) -> dict[str, int]:
    """Makes the orders and the file of their parcels. Gives the amount of each order."""
    wanted: dict[str, int] = {}
    with file.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(["order_id", "reference", "amount", "currency"])
        for n in range(PARCELS):
            # Twice the amount: the order itself would let a second capture through.
            order_id = klarna.order(2 * (1000 + n), *["lost_answer"] * (n % LOST == 0))
            wanted[order_id] = 1000 + n
            rows.writerow([order_id, f"demo-{n}", amount(1000 + n), "EUR"])
    return wanted


def work_off(office: Office, wanted: Mapping[str, int]) -> str:
    """Kills two workers on the way. Gives the words of the third one."""
    first, second = KILLED_AT

    def killed(captures: int, more: str = "") -> None:
        now = len(office.captured())
        expect(captures <= now < PARCELS, f"the worker was killed at {now} captures")
        say(f"  takings worker                     killed after {now} captures{more}")

    with office.worker() as wait:
        wait(lambda: len(office.captured()) >= first)
    killed(first)
    # An outage: whatever is sent now is answered with 503, and nothing is captured.
    out = wanted.keys() - office.captured()
    for order_id in out:
        office.klarna.fault(order_id, fault="status", status=503)
    with office.worker() as wait:
        wait(lambda: "PAUSED" in office.run("status"))
        for order_id in out:
            office.klarna.no_faults(order_id)
        # The worker itself would look again half a minute after the last silence.
        office.run("resume")
        wait(lambda: len(office.captured()) >= second)
    killed(second, ", an outage, `takings resume`")
    return office.run("worker", "--until-quiet", "30")


def show_ledger(klarna: Sandbox) -> None:
    say()
    say(f"And the ledger. A file of {PARCELS} parcels is enqueued, and a worker captures them. It")
    say("is killed twice on the way (SIGKILL), and in between Klarna answers 503:")
    say()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        office = Office(folder, klarna)
        wanted = write_parcels(klarna, folder / "shipments.csv")
        # The orders were made a moment ago, so nothing can have captured them before.
        said = office.run("enqueue", "--first-ever", "shipments.csv")
        say(f"  takings enqueue shipments.csv      {said.strip().splitlines()[-1]}")
        said = work_off(office, wanted)
        say(f"  takings worker                     {said.strip().splitlines()[-1]}")
        say()
        say("  takings status")
        for line in office.run("status").splitlines():
            say(f"    {line.replace(str(folder), '…')}")
        rows = office.run("list", "--state", "captured", "--most", "0", "--json").splitlines()
    booked = {row["order_id"]: row["capture_id"] for row in map(json.loads, rows)}
    judge(klarna, wanted, booked)
    requests = sum(request["order_id"] in wanted for request in klarna.all_requests())
    say()
    say(f"{PARCELS} parcels, {requests} requests, {PARCELS} captures: each once, all are booked.")
    say("The sandbox's audit is empty.")


def judge(klarna: Sandbox, wanted: Mapping[str, int], booked: Mapping[str, str]) -> None:
    """Compares the captures of the sandbox with the amounts and the ids that they must have."""
    done = [entry for entry in klarna.everything() if entry["order_id"] in wanted]
    amounts = {entry["order_id"]: entry["captured_amount"] for entry in done}
    expect(
        len(done) == len(wanted) and amounts == wanted,
        f"each of {len(wanted)} parcels should be captured once; there are {len(done)} captures of "
        f"{len(amounts)} orders",
    )
    expect(
        booked == {entry["order_id"]: entry["capture_id"] for entry in done},
        "the ledger should hold the captures that the sandbox made",
    )
    audit = klarna.audit()
    expect(audit == [], f"the sandbox's audit should be empty; it says {audit}")


# --- against a real Klarna ----------------------------------------------------------------------


def show_one_capture(klarna: Mapping[str, str], order_id: str, file: Path) -> None:
    # From the virtual environment this runs in. The library says itself which host it calls.
    import takings

    try:
        request = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as why:
        raise Broken(f"FILE {file} cannot be read: {why}") from why
    if not isinstance(request, dict):
        raise Broken(f"FILE {file} holds no capture: it must be an object, as in {SAMPLE}")
    with takings.Client.from_env() as client:
        host = client.base_url
    name = str(request.get("reference", file.name))
    key = takings.idempotency_key(order_id, name)
    say(f"Calling {host}: capturing order {order_id} as {file} says.")
    say()
    say(f"All languages use one idempotency key, {key},")
    say(f"derived from the order id and the name {name!r}. So the first one captures, and Klarna")
    say("answers the others with the same capture; five keys would take the money five times.")
    say()
    say(f"  {'':8}{'capture id':38}{'time':>7}")
    captured: set[str] = set()
    for surface in PROGRAMS:
        run = capture(surface, klarna, order_id, file, key)
        say(f"  {surface:8}{run.capture_id:38}{run.milliseconds:4.0f} ms")
        captured.add(run.capture_id)
        expect(run.key == key, f"{surface}: it used the key {run.key}, not {key}")
        expect(
            len(captured) == 1,
            f"{surface}: this is another capture than the one before; look at order {order_id}",
        )
    say()
    say(f"{len(PROGRAMS)} answers, one capture.")


def main() -> None:
    klarna = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    order_id, file = os.environ.get("ORDER_ID"), os.environ.get("FILE")
    if klarna and order_id and file:
        show_one_capture(klarna, order_id, Path(file))
    elif klarna:
        raise Broken(
            f"with {', '.join(klarna)} set this captures at the Klarna they name, so say what: "
            "make demo ORDER_ID=... FILE=request.json (or unset them, for the sandbox)"
        )
    elif order_id or file:
        raise Broken(
            "ORDER_ID and FILE are for a real Klarna; say which in KLARNA_USERNAME, "
            "KLARNA_PASSWORD, KLARNA_REGION and KLARNA_ENVIRONMENT (or leave them out, for the "
            "sandbox)"
        )
    else:
        total = json.loads(SAMPLE.read_text(encoding="utf-8"))["captured_amount"]
        with sandbox() as stand_in:
            say(f"The sandbox, a stand-in for Klarna, listens at {stand_in.url}.")
            say()
            show_captures(stand_in, SAMPLE, total)
            show_promise(stand_in, SAMPLE, total)
            show_lives(stand_in)
            show_ledger(stand_in)


if __name__ == "__main__":
    try:
        main()
    except (Broken, OSError, ValueError) as why:
        sys.exit(f"\ndemo: {why}")
