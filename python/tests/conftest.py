"""A sandbox for the tests: Klarna's stand-in, a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# The tests are for the installed wheel. Called as `python -m pytest` in the folder python/,
# Python would find the sources there first, which lack the compiled module.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE.parent]

import takings  # noqa: E402

# A background process of a shell ignores Ctrl-C, and so do the processes it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def sandbox_program() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = Path(os.environ.get("TAKINGS_SANDBOX", target / "debug" / "takings-sandbox"))
    if not program.exists():
        pytest.exit(
            f"{program} is missing: build it with `cargo build -p takings-sandbox`, "
            "or name another in TAKINGS_SANDBOX",
            returncode=1,
        )
    return program


class Sandbox:
    """A running sandbox and its control endpoint."""

    def __init__(self, *flags: str) -> None:
        # The process ends with its standard input, so it never outlives the tests.
        self.process = subprocess.Popen(
            [sandbox_program(), "--port", "0", "--parent-watch", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), "the sandbox did not start"

    def stop(self) -> None:
        self.process.communicate(timeout=120)

    def _control(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox{path}", data)
        # no proxy for loopback
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)

    def order(self, *faults: dict[str, Any], order_id: str | None = None) -> str:
        """A new order over 100.00 whose requests meet these faults."""
        wanted: dict[str, Any] = {"order_amount": 10_000, "faults": faults}
        if order_id is not None:
            wanted["order_id"] = order_id
        return str(self._control("/orders", wanted)["order_id"])

    def ledger(self, order_id: str) -> list[dict[str, Any]]:
        """What was captured of the order."""
        return list(self._control(f"/orders/{urllib.parse.quote(order_id)}/ledger"))

    def requests(self, order_id: str) -> list[dict[str, Any]]:
        """What was received for the order, as it came."""
        return list(self._control(f"/orders/{urllib.parse.quote(order_id)}/requests"))

    def until_requested(self, order_id: str) -> None:
        """Returns once a request for the order has come, however slow the machine is."""
        deadline = time.monotonic() + 20
        while not self.requests(order_id):
            assert time.monotonic() < deadline, "no request came"
            time.sleep(0.01)

    @contextlib.contextmanager
    def signals(self, order_id: str, number: signal.Signals) -> Generator[None]:
        """This process gets the signal once a request for the order has come.

        A handler that raises earlier might do so within a finaliser, where Python passes over it.
        """

        def send() -> None:
            self.until_requested(order_id)
            os.kill(os.getpid(), number)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield
        finally:
            sending.join()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[takings.Client]:
    with takings.Client("sandbox", "sandbox", base_url=sandbox.url, backoff=0.002) as client:
        yield client


@pytest.fixture
def order_id(sandbox: Sandbox) -> str:
    return sandbox.order()
