"""Clients made and used before a fork: under gunicorn, under celery, and in families of
processes. No capture is lost or made twice, and no connection is shared."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import broker
import pytest
import takings
from support import HERE, TARGET, Program, Sandbox, header, one_process_each, python, until

HOSTS = HERE / "hosts"
WORKERS = 4

LOST: list[list[dict[str, Any]]] = [
    [{"fault": "lost_answer"}],
    [{"fault": "delay", "seconds": 0.05}],
    [{"fault": "reset_after_commit"}, {"fault": "reset_before_commit"}],
    [],
]
SLOW: list[list[dict[str, Any]]] = [
    [{"fault": "delay", "seconds": 1, "when": "before_commit"}],
    [{"fault": "delay", "seconds": 1, "when": "after_commit"}],
    [{"fault": "lost_answer"}, {"fault": "delay", "seconds": 1}],
]


class Shop:
    """A program with workers, and the outcomes that it notes."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.file = folder / "outcomes"
        self.file.touch()
        self.environment = {
            "BASE_URL": sandbox.url,
            "FIRST_ORDER": sandbox.order(),
            "OUTCOMES": str(self.file),
            "PYTHONPATH": f"{HOSTS}:{HERE}",
            "HOME": str(folder),
        }

    def orders(self, faults: list[list[dict[str, Any]]], number: int) -> dict[str, str]:
        """New orders, each with its key."""
        return {
            self.sandbox.order(*faults[place % len(faults)]): str(uuid.uuid4())
            for place in range(number)
        }

    def outcomes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def under_way(self, orders: dict[str, str]) -> None:
        for order_id in orders:
            until(lambda: self.sandbox.requests(order_id), what="the request")  # noqa: B023

    def captured_once_and_known(self, orders: dict[str, str]) -> list[int]:
        """Every order captured once, as noted; returns the processes that did it."""
        noted = {outcome["order_id"]: outcome for outcome in self.outcomes()}
        used: list[tuple[int, int]] = []
        for order_id, key in orders.items():
            [entry] = self.sandbox.ledger(order_id)
            outcome = noted[order_id]
            assert outcome["kind"] == "capture", outcome
            assert (entry["idempotency_key"], outcome["key"]) == (key, key)
            assert entry["capture_id"] == outcome["capture_id"]
            requests = self.sandbox.requests(order_id)
            # The last request is the one whose answer was noted; earlier ones may come from a job
            # that was tried again elsewhere.
            used.append((requests[-1]["connection"], outcome["process"]))
        # The process that made the client and used it shares no connection either.
        used += [
            (request["connection"], 0)
            for request in self.sandbox.requests(self.environment["FIRST_ORDER"])
        ]
        assert one_process_each(used), "two processes on one connection"
        return [process for _, process in used if process]


def test_a_child_knows_the_keys_of_its_parent(sandbox: Sandbox) -> None:
    with python("keys.py", sandbox.url, sandbox.order()) as program:
        told = program.end(within=60).split()
    unknown, refused = "outcome_unknown", "invalid_input"
    assert told[:4] == [unknown, unknown, "rejected", unknown]
    assert told[4:6] == [refused, refused], "they stand for other captures"
    assert told[6:] == [unknown, "not_sent"], "where no connection can be made"


# --- gunicorn -----------------------------------------------------------------------------


class Web:
    def __init__(self, port: int, program: Program) -> None:
        self.port = port
        self.program = program

    def post(self, order: tuple[str, str]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", f"/{order[0]}/{order[1]}")
            return dict(json.load(connection.getresponse()))
        finally:
            connection.close()


@contextmanager
def gunicorn(shop: Shop, worker_class: str) -> Iterator[Web]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        os.set_inheritable(listener.fileno(), True)
        with Program(
            sys.executable,
            *("-m", "gunicorn", "web:application", "--preload", "--no-control-socket"),
            *("--bind", f"fd://{listener.fileno()}", "--workers", str(WORKERS)),
            # with more than one thread, sync would be gthread
            *("--worker-class", worker_class),
            *("--threads", "1" if worker_class == "sync" else "2"),
            *("--worker-tmp-dir", str(shop.file.parent)),
            environment=shop.environment,
            server=True,
            stderr=(shop.file.parent / "gunicorn.log").open("w"),
            pass_fds=[listener.fileno()],
        ) as program:
            yield Web(int(listener.getsockname()[1]), program)


@pytest.fixture(params=["sync", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_gunicorn_captures_in_every_worker(
    sandbox: Sandbox, tmp_path: Path, worker_class: str
) -> None:
    shop = Shop(sandbox, tmp_path)
    with gunicorn(shop, worker_class) as web:
        everything: dict[str, str] = {}
        processes: set[int] = set()
        deadline = time.monotonic() + 60
        # The system decides which worker gets a request.
        while len(processes) < WORKERS or len(everything) < 60:
            assert time.monotonic() < deadline, f"only {len(processes)} workers"
            orders = shop.orders(LOST, 30)
            with concurrent.futures.ThreadPoolExecutor(2 * WORKERS) as pool:
                for answer in pool.map(web.post, orders.items()):
                    assert answer["kind"] == "capture", answer
                    processes.add(answer["process"])
            everything |= orders
        assert set(shop.captured_once_and_known(everything)) == processes
        assert web.program.process.pid not in processes


def test_gunicorns_graceful_stop_loses_no_outcome(
    sandbox: Sandbox, tmp_path: Path, worker_class: str
) -> None:
    shop = Shop(sandbox, tmp_path)
    with gunicorn(shop, worker_class) as web:
        orders = shop.orders(SLOW, WORKERS)
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            answers = [pool.submit(web.post, order) for order in orders.items()]
            shop.under_way(orders)
            web.program.process.send_signal(signal.SIGTERM)
            for answer in answers:
                assert answer.result()["kind"] == "capture"
        assert web.program.process.wait(timeout=120) == 0
        shop.captured_once_and_known(orders)


def test_gunicorns_quick_stop_loses_no_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    """SIGQUIT raises SystemExit in the middle of a call; the exception carries the key."""
    shop = Shop(sandbox, tmp_path)
    with gunicorn(shop, "sync") as web:
        orders = shop.orders(SLOW[:2], WORKERS)
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            answers = [pool.submit(web.post, order) for order in orders.items()]
            shop.under_way(orders)
            web.program.process.send_signal(signal.SIGQUIT)
            concurrent.futures.wait(answers)
        web.program.process.wait(timeout=120)
    noted = {outcome["order_id"]: outcome for outcome in shop.outcomes()}
    with takings.Client("sandbox", "sandbox", base_url=sandbox.url) as client:
        for order_id, key in orders.items():
            assert (noted[order_id]["kind"], noted[order_id]["key"]) == (
                "outcome_unknown",
                key,
            )
            again = client.capture(order_id, captured_amount=1, idempotency_key=key)
            [entry] = sandbox.ledger(order_id)
            assert entry["capture_id"] == again.capture_id


# --- celery -------------------------------------------------------------------------------


@contextmanager
def celery(shop: Shop, folder: Path) -> Iterator[tuple[Program, Any]]:
    """A worker with its pool, and a function that puts an order into its queue."""
    from celery import Celery  # type: ignore[import-untyped]

    options = broker.options(folder / "broker")
    producer = Celery("test", broker=broker.URL)
    producer.conf.broker_transport_options = options
    with Program(
        sys.executable,
        *("-m", "celery", "-A", "jobs", "worker", "--pool", "prefork"),
        *("--concurrency", str(WORKERS), "--loglevel", "INFO", "-O", "fair"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        environment={**shop.environment, "BROKER": json.dumps(options)},
        server=True,
        stderr=(folder / "celery.log").open("w"),
        cwd=folder,
    ) as program:
        yield program, lambda order: producer.send_task("capture", args=order)
    producer.close()


def test_celery_captures_in_every_process_of_its_pool(sandbox: Sandbox, tmp_path: Path) -> None:
    shop = Shop(sandbox, tmp_path)
    # More losses than the attempts of one call, so that celery has to try a job again.
    orders = shop.orders([*LOST, [{"fault": "lost_answer"}] * 4], 40)
    with celery(shop, tmp_path) as (program, send):
        for order in orders.items():
            send(order)
        until(lambda: len(shop.outcomes()) == len(orders), 90, "the captures")
        processes = set(shop.captured_once_and_known(orders))
        assert len(processes) == WORKERS
        assert program.process.pid not in processes


def test_celerys_warm_stop_loses_no_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    shop = Shop(sandbox, tmp_path)
    orders = shop.orders(SLOW, WORKERS)
    with celery(shop, tmp_path) as (program, send):
        for order in orders.items():
            send(order)
        shop.under_way(orders)
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(timeout=120)
        shop.captured_once_and_known(orders)


# --- families of processes ----------------------------------------------------------------


@pytest.fixture(params=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Sandbox, Path]]:
    """A sandbox, and the authority to trust for it."""
    authority = tmp_path / "ca.pem"
    flags = ["--tls", "--ca-out", str(authority)] if request.param == "https" else []
    with Sandbox(*flags) as sandbox:
        yield sandbox, authority


@pytest.mark.parametrize("host", ["python", "luajit"])
def test_a_family_of_processes(served: tuple[Sandbox, Path], tmp_path: Path, host: str) -> None:
    sandbox, authority = served
    environment = {"SSL_CERT_FILE": str(authority)}
    order_id, outcomes = sandbox.order(), tmp_path / "outcomes"
    if host == "python":
        started = python("forks.py", sandbox.url, order_id, outcomes, environment=environment)
    else:
        environment["LUA_CPATH"] = f"{TARGET}/lua/jit/?.so"
        started = Program(
            *("luajit", HOSTS / "forks.lua", sandbox.url, order_id, outcomes),
            environment=environment,
        )
    with started as program:
        assert program.end(within=90) == "done\n"
    noted = [line.split() for line in outcomes.read_text().splitlines()]
    held = {entry["idempotency_key"]: entry["capture_id"] for entry in sandbox.ledger(order_id)}
    # every call's key is its own: no two processes draw the same
    assert len(noted) == len(held) == len({key for _, key, _ in noted})
    assert {key: capture_id for _, key, capture_id in noted} == held
    by_key = {key: int(process) for process, key, _ in noted}
    assert len(set(by_key.values())) > 20
    used = [
        (request["connection"], by_key[header(request, "klarna-idempotency-key")])
        for request in sandbox.requests(order_id)
    ]
    assert one_process_each(used), "two processes on one connection"


def test_a_shared_connection_would_be_seen() -> None:
    assert one_process_each([(1, 10), (2, 11), (1, 10)])
    assert not one_process_each([(1, 10), (2, 11), (1, 11)])
