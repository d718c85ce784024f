"""Code that the tests share: the sandbox, programs that are sure to end, and compiled C."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import select
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from typing_extensions import Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BUILT = TARGET / "debug"
ADAPTERS = ROOT / "tests" / "adapters"
CREDENTIALS = {"username": "sandbox", "password": "sandbox"}

# The tests must not use the proxies of the machine.
PROXIES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}

# A program that a shell starts in the background ignores Ctrl-C, and so do its own children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The control connection trusts any certificate: only takings' own trust is under test.
NO_QUESTIONS = ssl._create_unverified_context()


def built(path: Path) -> Path:
    assert path.exists(), f"{path} is missing: build it with `make build`"
    return path


def dies_with_its_parent() -> None:
    """Ends a server with its parent, for servers that do not watch for that by themselves."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


class Program:
    """A program in a process group of its own, all of which is ended at the end."""

    def __init__(
        self,
        *command: str | Path,
        environment: dict[str, str] | None = None,
        server: bool = False,
        stderr: int | IO[Any] | None = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
    ) -> None:
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            pass_fds=pass_fds,
            cwd=cwd,
            preexec_fn=dies_with_its_parent if server else None,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.returncode is None:
            self.close_input()
            self.process.communicate(timeout=120)

    def close_input(self) -> None:
        """Closes the standard input, with which some programs end."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.process.stdin = None

    def say(self, line: str) -> None:
        self.stdin.write(line + "\n")
        self.stdin.flush()

    def hear(self, within: float = 30) -> str:
        """The next line of output. Only for programs that answer each line of input with a line."""
        ready, _, _ = select.select([self.stdout], [], [], within)
        assert ready, f"{shlex.join(self.command)} was silent for {within} s"
        line = self.stdout.readline()
        if not line:
            raise AssertionError(
                f"{shlex.join(self.command)} ended: {self.process.communicate()[1]}"
            )
        return line.rstrip("\n")

    def end(self, within: float = 60, given: str | None = None) -> str:
        """Lets it run to a good end and returns the rest of its output."""
        try:
            output, complaints = self.process.communicate(given, timeout=within)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            output, complaints = self.process.communicate()
            raise AssertionError(
                f"{shlex.join(self.command)} did not end within {within} s\n{output}\n{complaints}"
            ) from None
        assert self.process.returncode == 0, (
            f"{shlex.join(self.command)}: {self.process.returncode}\n{output}\n{complaints}"
        )
        return output


def python(script: str, *arguments: str | Path, **options: Any) -> Program:
    """A program of the folder hosts/."""
    return Program(sys.executable, HERE / "hosts" / script, *arguments, **options)


class Sandbox:
    """A running sandbox and its control endpoint. Any thread may use it."""

    def __init__(self, *flags: str) -> None:
        program = built(Path(os.environ.get("TAKINGS_SANDBOX", BUILT / "takings-sandbox")))
        # The sandbox ends with its standard input, so it never outlives the tests.
        self.program = Program(program, "--parent-watch", *flags, stderr=subprocess.DEVNULL)
        self.url = self.program.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()

    def control(self, path: str, body: object = None, method: str | None = None) -> Any:
        where = urllib.parse.urlsplit(self.url)
        host, port = where.hostname or "", where.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=120, context=NO_QUESTIONS)
            if where.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=120)
        )
        try:
            data = None if body is None else json.dumps(body)
            method = method or ("GET" if data is None else "POST")
            connection.request(method, f"/sandbox{path}", data)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, text
            return json.loads(text) if text else None
        finally:
            connection.close()

    def order(self, *faults: dict[str, Any], order_amount: int = 10_000_000) -> str:
        """A new order whose requests meet these faults."""
        wanted = {"order_amount": order_amount, "faults": list(faults)}
        return str(self.control("/orders", wanted)["order_id"])

    def drop_faults(self, order_id: str) -> None:
        """Drops the faults of the order that have not struck yet."""
        self.control(f"/orders/{order_id}/faults", method="DELETE")

    def ledger(self, order_id: str | None = None) -> list[dict[str, Any]]:
        """The captures of one order or of all."""
        if order_id is None:
            return list(self.control("/ledger"))
        return list(self.control(f"/orders/{urllib.parse.quote(order_id)}/ledger"))

    def requests(self, order_id: str | None = None) -> list[dict[str, Any]]:
        """The requests for one order or for all (the last 10,000)."""
        if order_id is None:
            return list(self.control("/requests"))
        return list(self.control(f"/orders/{urllib.parse.quote(order_id)}/requests"))


class Hostile:
    """The scripted server that breaks rules: see "A hostile server" in tests/README.md."""

    def __init__(self, *steps: object, **script: object) -> None:
        """Every connection does these steps; `script` has the other members of a script."""
        script = {"others": list(steps), **script} if steps else script
        self.program = Program(built(BUILT / "takings-hostile"))
        told = self._ask(json.dumps(script))
        self.url, self.port, self.ca_file = told["url"], int(told["port"]), Path(told["ca_file"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.program.end()
        finally:
            self.program.kill()

    def _ask(self, line: str) -> dict[str, Any]:
        self.program.say(line)
        answer: dict[str, Any] = json.loads(self.program.hear())
        return answer

    def seen(self) -> dict[str, int]:
        """How many `connections` there were, how many are `over`, how many `requests` came."""
        return self._ask("")


def waited_for_processor(*processes: int) -> float:
    """How long, in seconds, this thread and those of the processes were ready to run while others
    had the processors. Measurements leave this time out."""
    nanoseconds = 0
    tasks = [task for process in processes for task in Path(f"/proc/{process}/task").iterdir()]
    for task in [Path("/proc/thread-self"), *tasks]:
        with contextlib.suppress(OSError):  # it ended just now, or the system does not tell
            nanoseconds += int((task / "schedstat").read_text().split()[1])
    return nanoseconds / 1e9


def until(condition: Any, within: float = 20, what: str = "") -> Any:
    """Waits for something to become true, and returns it."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return found


def a_capture(surface: str, config: object, order_id: str, request: object, key: str = "") -> str:
    """The line that makes the adapter of a surface capture; without a `config` the adapter keeps
    its client."""
    if surface == "c":
        fields = [
            *("capture", json.dumps(config) if config else "", order_id),
            *(json.dumps(request), "1" if key else "0", key),
        ]
        return "\t".join(urllib.parse.quote(field) for field in fields)
    task = {"order_id": order_id, "request": request}
    return json.dumps(
        task | ({"config": config} if config else {}) | ({"idempotency_key": key} if key else {})
    )


def compiled(source: Path, program: Path, *flags: str) -> Path:
    """A C program, compiled strictly and linked with the library as it was built."""
    library = built(BUILT / "libtakings.so")
    soname = program.parent / "libtakings.so.1"
    if not soname.exists():
        soname.symlink_to(library)
    compiler = shlex.split(os.environ.get("CC") or "cc")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"]
    headers = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'ffi-c/tests/c'}"]
    run(
        *compiler,
        *strict,
        *headers,
        *flags,
        source,
        "-o",
        program,
        f"-L{BUILT}",
        "-ltakings",
        "-lpthread",
        f"-Wl,-rpath,{program.parent}",
    )
    return program


def preloaded(source: Path, folder: Path) -> dict[str, str]:
    """The environment of a program that meets these C functions instead of the system's."""
    library = folder / f"{source.stem}.so"
    compiler = shlex.split(os.environ.get("CC") or "cc")
    strict = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    run(*compiler, *strict, source, "-o", library, "-ldl")
    return {"LD_PRELOAD": str(library)}


def run(*command: str | Path, within: float = 120, **environment: str) -> str:
    """Runs a program to its good end and returns what it printed."""
    with Program(*command, environment=environment) as program:
        return program.end(within)


def header(request: dict[str, Any], name: str) -> str:
    """A header of a request as the sandbox recorded it."""
    [value] = [value for known, value in request["headers"] if known.lower() == name]
    return str(value)


def one_process_each(pairs: list[tuple[int, int]]) -> bool:
    """Whether no connection number was used by two process ids."""
    owner: dict[int, int] = {}
    return all(owner.setdefault(connection, process) == process for connection, process in pairs)
