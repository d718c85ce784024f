"""Captures one order from each language, then shows the promise: the sandbox captures and loses the answer, and
the money moves once all the same. Ends with 1 and a reason if anything is not as it should be.

    make demo                           against the sandbox
    make demo ORDER_ID=... FILE=...     against the Klarna that KLARNA_* names

Standard library only; `make demo` has built everything before it starts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SAMPLE = ROOT / "examples" / "capture.json"

# Each takes the order id, the file and, optionally, the key, and finds whom to call in KLARNA_*.
PROGRAMS: dict[str, list[str | Path]] = {
    "Rust": [TARGET / "debug" / "examples" / "capture"],
    "C": [TARGET / "examples" / "capture-c"],
    "C++": [TARGET / "examples" / "capture-cpp"],
    "Python": [TARGET / "venv" / "bin" / "python", ROOT / "examples" / "capture.py"],
    "Lua": ["lua5.4", ROOT / "examples" / "capture.lua"],
}
LUA_MODULE = TARGET / "lua" / "5.4" / "?.so"

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


@dataclass
class Run:
    capture_id: str
    key: str
    milliseconds: float


def capture(surface: str, klarna: Mapping[str, str], order_id: str, file: Path, key: str | None = None) -> Run:
    """Runs the surface's program once, from start to exit."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= klarna
    environment["LUA_CPATH"] = str(LUA_MODULE)
    command = [*map(str, PROGRAMS[surface]), order_id, str(file)]
    if key is not None:
        command.append(key)
    began = time.perf_counter()
    try:
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Broken(f"{surface}: {why}") from None
    took = (time.perf_counter() - began) * 1000
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip()
        raise Broken(f"{surface}: exit {ended.returncode}: {said}")
    printed = dict(line.split(" ", 1) for line in ended.stdout.splitlines() if " " in line)
    if "capture" not in printed or "key" not in printed:
        raise Broken(f"{surface}: printed no capture and key, but {ended.stdout!r}")
    return Run(printed["capture"], printed["key"], took)


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def amount(minor_units: int) -> str:
    return f"{minor_units // 100}.{minor_units % 100:02}"


# --- the sandbox ------------------------------------------------------------------------------------------------


class Sandbox:
    """The stand-in Klarna's control endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.klarna = {"KLARNA_BASE_URL": url, "KLARNA_USERNAME": "sandbox", "KLARNA_PASSWORD": "sandbox"}
        # A proxy of the environment has no business with loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _ask(self, path: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=10) as answer:
            return json.load(answer)

    def order(self, order_amount: int, *faults: str) -> str:
        wanted = {"order_amount": order_amount, "faults": [{"fault": name} for name in faults]}
        made = self._ask("orders", wanted)
        assert isinstance(made, dict)
        return str(made["order_id"])

    def ledger(self, order_id: str) -> list[dict[str, object]]:
        entries = self._ask(f"orders/{order_id}/ledger")
        assert isinstance(entries, list)
        return entries

    def requests(self, order_id: str) -> list[dict[str, object]]:
        received = self._ask(f"orders/{order_id}/requests")
        assert isinstance(received, list)
        return received


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    program = TARGET / "debug" / "takings-sandbox"
    # It ends when its standard input does, so it cannot outlive us whatever happens to us.
    process = subprocess.Popen(
        [program, "--port", "0", "--parent-watch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        url = process.stdout.readline().strip()
        expect(url.startswith("http://127.0.0.1:"), f"the sandbox did not start: {url!r}")
        yield Sandbox(url)
    finally:
        process.communicate(timeout=10)


def key_of(request: Mapping[str, object]) -> str | None:
    headers = request["headers"]
    assert isinstance(headers, list)
    return next((value for name, value in headers if name.lower() == "klarna-idempotency-key"), None)


def show_captures(klarna: Sandbox, file: Path, total: int) -> None:
    print(f"One capture of {amount(total)} from each language, each for an order of its own:\n")
    print(f"  {'':8}{'capture id':38}{'idempotency key':38}{'time':>8}")
    for surface in PROGRAMS:
        order_id = klarna.order(total)
        run = capture(surface, klarna.klarna, order_id, file)
        print(f"  {surface:8}{run.capture_id:38}{run.key:38}{run.milliseconds:5.0f} ms")
        booked = [(entry["capture_id"], entry["idempotency_key"], entry["captured_amount"]) for entry in klarna.ledger(order_id)]
        expect(
            booked == [(run.capture_id, run.key, total)],
            f"{surface}: the ledger should hold this one capture of {total}; it holds {booked}",
        )
    print("\nThe time is the whole program's, from its start to its exit. The ledger agrees with every line.\n")


def show_promise(klarna: Sandbox, file: Path, total: int) -> None:
    print("The promise. Now the sandbox captures and then loses the answer: the connection closes")
    print("without a byte. The call cannot know, so it asks again with the same key:\n")
    print(f"  {'':8}{'requests':>8}  {'keys':>4}  {'captures':>8}  {'capture id':38}{'time':>8}")
    ledger = []
    for surface in PROGRAMS:
        # Twice the amount: a second capture would not be stopped by an order used up.
        order_id = klarna.order(2 * total, "lost_answer")
        run = capture(surface, klarna.klarna, order_id, file)
        requests, entries = klarna.requests(order_id), klarna.ledger(order_id)
        keys = {key_of(request) for request in requests}
        print(
            f"  {surface:8}{len(requests):8}  {len(keys):4}  {len(entries):8}  {run.capture_id:38}"
            f"{run.milliseconds:5.0f} ms"
        )
        faults = [(request["fault"], request["answered_status"]) for request in requests]
        expect(faults == [("lost_answer", None), (None, 201)], f"{surface}: the requests should be one lost and one answered; they are {faults}")
        expect(keys == {run.key}, f"{surface}: every request should carry the key {run.key}; they carry {keys}")
        expect(
            len({str(request["body"]) for request in requests}) == 1, f"{surface}: the two requests differ in their body"
        )
        expect(
            [entry["capture_id"] for entry in entries] == [run.capture_id],
            f"{surface}: the ledger should hold {run.capture_id} alone; it holds {entries}",
        )
        ledger += entries
    print("\nThe sandbox's ledger of these five orders:\n")
    print(f"  {'order':38}{'amount':>8}  {'capture id':38}request")
    for entry in ledger:
        total_of = entry["captured_amount"]
        assert isinstance(total_of, int)
        print(f"  {entry['order_id']:38}{amount(total_of):>8}  {entry['capture_id']:38}{entry['request_number']:>7}")
    print("\nTen requests, five captures: each order's money moved once.")


# --- a real Klarna ----------------------------------------------------------------------------------------------


def real(klarna: Mapping[str, str], order_id: str, file: Path) -> None:
    # The demo runs in the virtual environment, where the wheel is.
    import takings

    with takings.Client.from_env() as client:
        host = client.base_url
    reference = json.loads(file.read_text()).get("reference", "demo")
    key = takings.idempotency_key(order_id, reference)
    print(f"Capturing order {order_id} as {file} says, at {host}")
    print(f"All five languages use one idempotency key, {key},")
    print(f"derived from the order id and the reference {reference!r}: the first one captures, and Klarna answers")
    print("the others with the same capture. Five keys would take the money five times.\n")
    sys.stdout.flush()
    print(f"  {'':8}{'capture id':38}{'time':>8}")
    captured = set()
    for surface in PROGRAMS:
        run = capture(surface, klarna, order_id, file, key)
        captured.add(run.capture_id)
        print(f"  {surface:8}{run.capture_id:38}{run.milliseconds:5.0f} ms")
        expect(run.key == key, f"{surface}: used the key {run.key}, not {key}")
        expect(len(captured) == 1, f"{surface}: this is another capture; look at order {order_id} in Klarna's portal")
    print("\nOne capture, five answers.")


# --- which of the two -------------------------------------------------------------------------------------------


def main() -> None:
    klarna = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    order_id, file = os.environ.get("ORDER_ID", ""), os.environ.get("FILE", "")
    if klarna and not (order_id and file):
        raise Broken(
            f"{', '.join(klarna)} set, so this would capture at a real Klarna; say which order and what: "
            "make demo ORDER_ID=... FILE=request.json (or unset them, for the sandbox)"
        )
    if order_id and not klarna:
        raise Broken(
            "ORDER_ID is for a real Klarna, and no KLARNA_* variable says which; set KLARNA_USERNAME, KLARNA_PASSWORD, "
            "KLARNA_REGION and KLARNA_ENVIRONMENT, or leave ORDER_ID out for the sandbox"
        )
    if klarna:
        real(klarna, order_id, Path(file))
        return
    total = json.loads(SAMPLE.read_text())["captured_amount"]
    with sandbox() as stand_in:
        print(f"The sandbox, our stand-in for Klarna, listens at {stand_in.url}\n")
        show_captures(stand_in, SAMPLE, total)
        show_promise(stand_in, SAMPLE, total)


if __name__ == "__main__":
    try:
        main()
    except (Broken, OSError, ValueError) as why:
        sys.stdout.flush()
        sys.exit(f"\ndemo: {why}")
