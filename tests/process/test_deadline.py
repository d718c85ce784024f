"""No call lasts longer than its time-out, whatever the other side does, and no client takes
longer to free."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import takings
from support import (
    CREDENTIALS,
    HERE,
    TARGET,
    Hostile,
    Program,
    Sandbox,
    a_capture,
    compiled,
    preloaded,
    run,
    until,
    waited_for_processor,
)

TOTAL = 0.9
"""The time-out of a call here, in seconds, unless its case says otherwise."""

LIMITS = {"rust": 0.05, "c": 0.05, "python": 0.1, "lua": 0.1}
"""How much later a call may end, on an idle machine."""

FREED = 1.0
"""How long a program may take to free its client and to end."""

ROUNDS = 3
"""How often a measurement is made anew before it counts: the machine may be busy."""


Script = dict[str, Any]
"""Of the hostile server: see tests/README.md."""


def does(*steps: object) -> Script:
    """A server whose every connection does these steps."""
    return {"others": list(steps)}


def answers(*steps: object) -> Script:
    """A server that reads the request, then does these steps."""
    return does({"read": "request"}, *steps)


def trickles(beginning: str, byte: str) -> Script:
    """Answers with `beginning` at once, then with one more byte from time to time."""
    return answers({"send": beginning}, {"flood": {"text": byte, "pause_ms": 20}})


def floods(beginning: str, more: str) -> Script:
    """Answers with `beginning`, then with `more` again and again, as fast as it can."""
    return answers({"send": beginning}, {"flood": {"text": more}})


def over_tls(script: Script) -> Script:
    return {"https": True, "others": [{"handshake": "good"}, *script["others"]]}


@dataclass
class Case:
    """A server's behaviour, and how calls to it may end."""

    server: Script | str
    kinds: set[str]
    lasts: bool = True
    """Whether the call has to go on for most of its time, so that it is the deadline that
    ends it."""
    scheme: str = "http"
    host: str = "127.0.0.1"
    proxy: bool = False
    request: dict[str, Any] = field(default_factory=lambda: {"captured_amount": 1})


NOT_SENT = {"not_sent"}
UNKNOWN = {"outcome_unknown"}
HEAD = "HTTP/1.1 500 No\r\n"
CAPTURED = "HTTP/1.1 201 Created\r\nCapture-Id: c-1\r\n"
INTERIM = "HTTP/1.1 102 Processing\r\nA: b\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"

FULL: Script = {"full": True}
"""No connection is accepted and none refused."""

# A small buffer, so that a request that nobody reads cannot leave the client.
NEVER_READS: Script = {"receive_buffer": 2048, "others": ["deaf"]}

RECORD = "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
ENDLESS_HANDSHAKE = does(
    {"trickle": {"text": [RECORD, {"repeat": "\0", "times": 100_000}], "pause_ms": 20}}
)
"""A TLS record byte by byte, as a handshake that goes on for ever."""

CASES = {
    # before anything can leave
    "connect: nobody accepts": Case(FULL, NOT_SENT),
    "connect: no address accepts": Case(FULL, NOT_SENT, scheme="https", host="many.example"),
    "look-up: no answer": Case(FULL, NOT_SENT, scheme="https", host="hangs.example"),
    "tls: no handshake": Case(NEVER_READS, NOT_SENT, scheme="https"),
    "tls: endless handshake": Case(ENDLESS_HANDSHAKE, NOT_SENT, scheme="https"),
    "proxy: no answer": Case(
        does({"read": "head"}, "stall"),
        NOT_SENT,
        scheme="https",
        host="shop.example",
        proxy=True,
    ),
    "proxy: endless answer": Case(
        does(
            {"read": "head"},
            {"send": "HTTP/1.1 200 OK\r\nX-Long: "},
            {"flood": {"text": "a", "pause_ms": 20}},
        ),
        NOT_SENT,
        scheme="https",
        host="shop.example",
        proxy=True,
    ),
    "proxy: tunnel to nowhere": Case(
        does({"read": "head"}, {"send": "HTTP/1.1 200 Connection established\r\n\r\n"}, "deaf"),
        NOT_SENT,
        scheme="https",
        host="shop.example",
        proxy=True,
    ),
    # after the request may have left
    "never read": Case(
        NEVER_READS,
        UNKNOWN,
        request={
            "captured_amount": 1,
            "order_lines": [
                {
                    "name": "n" * 255,
                    "quantity": 1,
                    "unit_price": 1,
                    "total_amount": 1,
                    "merchant_data": "d" * 255,
                    "product_url": "https://shop.example/" + "p" * 500,
                }
            ]
            * 150,
        },
    ),
    "no answer": Case(answers("stall"), UNKNOWN),
    "no answer over tls": Case("stalled sandbox", UNKNOWN, scheme="https"),
    "trickled status line": Case(trickles("", "H"), UNKNOWN, lasts=False),
    "trickled head": Case(trickles(HEAD + "X-Long: ", "a"), UNKNOWN),
    "trickled body": Case(trickles(HEAD + "Content-Length: 100000\r\n\r\n", "a"), UNKNOWN),
    "trickled body to the end of the connection": Case(trickles(HEAD + "\r\n", "a"), UNKNOWN),
    "trickled chunk": Case(trickles(HEAD + CHUNKED + "ffffff\r\n", "a"), UNKNOWN),
    "trickled chunk extension": Case(trickles(HEAD + CHUNKED + "1;", "a"), UNKNOWN),
    "trickled trailer": Case(trickles(HEAD + CHUNKED + "0\r\nX-Long: ", "a"), UNKNOWN),
    "a capture whose body trickles": Case(
        trickles(CAPTURED + "Content-Length: 100000\r\n\r\n", "a"),
        {"capture"},
        lasts=False,
    ),
    "trickled 100s": Case(trickles("", "HTTP/1.1 100 Continue\r\n\r\n"), UNKNOWN),
    # Interim answers are read for as long as they come; a header in each makes that longer.
    "flood of 100s over tls": Case(floods("", INTERIM), UNKNOWN, scheme="https", lasts=False),
    "flood of 100s": Case(floods("", INTERIM), UNKNOWN, lasts=False),
    "flood of header fields": Case(floods(HEAD, "X-More: 1\r\n"), UNKNOWN, lasts=False),
    "flood of one header field": Case(floods(HEAD + "X-Long: ", "a"), UNKNOWN, lasts=False),
    "flood of body": Case(floods(HEAD + "\r\n", "a"), UNKNOWN, lasts=False),
    "flood of small chunks": Case(floods(HEAD + CHUNKED, "1\r\na\r\n"), UNKNOWN, lasts=False),
    "flood of chunk extension": Case(floods(HEAD + CHUNKED + "1;", "a"), UNKNOWN, lasts=False),
    "flood of trailers": Case(
        floods(HEAD + CHUNKED + "0\r\n", "X-More: 1\r\n"),
        UNKNOWN,
        lasts=False,
    ),
    "a capture with a flood of body": Case(
        floods(CAPTURED + "\r\n", "a"), {"capture"}, lasts=False
    ),
}


@pytest.fixture(scope="module")
def slow_lookup(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a program whose name server never answers."""
    return preloaded(HERE / "c/slow_lookup.c", tmp_path_factory.mktemp("lookup"))


@dataclass
class Measured:
    kind: str
    took: float
    """From the call to its outcome, in seconds."""
    waited: float
    """How much of that it may have waited for a processor."""
    freed: float
    """From the order to end to the end."""
    outcome: dict[str, Any]


def measure(
    surface: str,
    command: list[str | Path],
    environment: dict[str, str],
    config: dict[str, Any],
    request: dict[str, Any],
) -> Measured:
    lua = f"{TARGET}/lua/5.4/?.so"
    call = a_capture(surface, config, "order-1", request)
    with Program(*command, environment={**environment, "LUA_CPATH": lua}) as program:
        # The adapter runs once it answers.
        up = ["derive", "order-1", "up"]
        program.say("\t".join(up) if surface == "c" else json.dumps({"derive": up[1:]}))
        assert "key" in json.loads(program.hear())
        process = program.process.pid
        waited = waited_for_processor(process)
        began = time.monotonic()
        program.say(call)
        line = program.hear(within=60)
        took = time.monotonic() - began
        # The sum can shrink when a thread ends that had waited before.
        waited = max(waited_for_processor(process) - waited, 0)
        began = time.monotonic()
        program.close_input()
        with suppress(subprocess.TimeoutExpired):  # far too late; then it is killed
            assert program.process.wait(timeout=FREED + 2) == 0
        freed = time.monotonic() - began
    outcome: dict[str, Any] = json.loads(line)
    kind = "capture" if "capture" in outcome else outcome["error"]["kind"]
    return Measured(kind, took, waited, freed, outcome)


@pytest.mark.parametrize("name", CASES)
def test_no_call_outlasts_its_deadline(
    name: str,
    programs: dict[str, list[str | Path]],
    slow_lookup: dict[str, str],
    authority: tuple[Sandbox, Path],
) -> None:
    case = CASES[name]
    config: dict[str, Any] = {
        **CREDENTIALS,
        "timeout_ms": round(TOTAL * 1000),
        "attempt_timeout_ms": 400,
        "connect_timeout_ms": 200,
        "max_attempts": 20,
        "backoff_ms": 20,
        "max_backoff_ms": 20,
    }
    with ExitStack() as stack:
        if case.server == "stalled sandbox":
            port = int(authority[0].url.rpartition(":")[2])
            config["ca_file"] = str(authority[1])
            stalls = [{"fault": "stall"}] * (20 * len(programs) * ROUNDS)
            authority[0].control("/orders/order-1/faults", stalls)
        else:
            assert isinstance(case.server, dict)
            encrypted = case.scheme == "https" and name.startswith("flood")
            script = over_tls(case.server) if encrypted else case.server
            server = stack.enter_context(Hostile(**script))
            if encrypted:
                config["ca_file"] = str(server.ca_file)
            port = server.port
        config["base_url"] = f"{case.scheme}://{case.host}:{port}"
        if case.proxy:
            config["proxy"] = f"http://127.0.0.1:{port}"
        waiting = dict(programs)
        for attempt in range(1, ROUNDS + 1):
            # A flood keeps the machine busy: then one after the other.
            width = 1 if name.startswith("flood") or attempt > 1 else len(waiting)
            with concurrent.futures.ThreadPoolExecutor(width) as pool:
                results = {
                    surface: pool.submit(
                        measure, surface, command, slow_lookup, config, case.request
                    )
                    for surface, command in waiting.items()
                }
            late: dict[str, str] = {}
            for surface, result in results.items():
                measured = result.result()
                assert measured.kind in case.kinds, (surface, measured)
                if case.lasts:
                    assert measured.took > TOTAL / 2, (surface, measured)
                within = TOTAL + LIMITS[surface] + measured.waited
                if measured.took > within or measured.freed > FREED:
                    late[surface] = f"{measured.took:.3f} s, freed in {measured.freed:.3f} s"
            waiting = {surface: programs[surface] for surface in late}
            if not waiting:
                return
        pytest.fail(f"later than {TOTAL} s and what is allowed: {late}")


def test_calls_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Sixty threads of one client, each with a connection of its own that never falls silent."""
    # Long enough for most handshakes, also on a busy machine.
    calls, timeout_ms = 60, 1200
    program = compiled(HERE / "c/at_once.c", tmp_path / "at_once")
    with Hostile(**over_tls(trickles("", INTERIM))) as server:
        for _ in range(ROUNDS):
            told = run(program, server.url, server.ca_file, str(calls), str(timeout_ms))
            ended = [line.split() for line in told.splitlines()]
            assert len(ended) == calls
            assert {kind for kind, _, _ in ended} <= {"outcome_unknown", "not_sent"}
            assert [kind for kind, _, _ in ended].count("outcome_unknown") > calls / 2
            late = max(float(took) - float(waited) for _, took, waited in ended) - timeout_ms
            if late < LIMITS["rust"] * 1000:
                return
        pytest.fail(f"{late:.0f} ms late")


def client_of(server: Hostile, timeout: float) -> takings.Client:
    return takings.Client(
        **CREDENTIALS,
        base_url=server.url,
        ca_file=server.ca_file,
        timeout=timeout,
        max_attempts=1,
    )


def test_a_flooded_call_holds_no_other_up() -> None:
    """A flooded connection is always ready. The flood ends its own call, and delays no other."""
    captured = "HTTP/1.1 201 Created\r\nCapture-Id: c-{number}\r\nContent-Length: 0\r\n\r\n"
    script = over_tls(does({"forever": answers({"send": captured})["others"]}))
    with (
        Hostile(**script, connections=[over_tls(floods("", INTERIM))["others"]]) as server,
        client_of(server, timeout=12) as client,
        concurrent.futures.ThreadPoolExecutor(21) as pool,
    ):
        flooded = pool.submit(client.capture, "flood", captured_amount=1)
        until(lambda: server.seen()["requests"], what="the first connection is flooded")
        others = [pool.submit(client.capture, f"order-{n}", captured_amount=1) for n in range(20)]
        assert {call.result().attempts for call in others} == {1}
        with pytest.raises(takings.OutcomeUnknown):
            flooded.result()


@pytest.mark.parametrize("beginning", ["", HEAD + "Content-Length: 9\r\n\r\n1234"])
def test_connections_of_ended_calls_are_closed(beginning: str) -> None:
    """The calls are over; their flooded connections must not delay the end."""
    calls = 20
    with (
        Hostile(**over_tls(answers({"send": beginning}, "stall"))) as server,
        client_of(server, timeout=3) as client,
        concurrent.futures.ThreadPoolExecutor(calls) as pool,
    ):
        ended = [pool.submit(client.capture, f"order-{n}", captured_amount=1) for n in range(calls)]
        for call in ended:
            call.exception()
        assert server.seen()["requests"] == calls
        until(lambda: server.seen()["over"] == calls, what="all are closed")
