"""The installed C library in small threads and in processes that have little of something."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Sandbox, run
from test_c_threads import flags

SOURCE = Path(__file__).parent / "limited.c"
# The stack that takings.h promises to be enough for a thread, without and with a proxy.
STACK_KIB, PROXIED_KIB = 64, 96


@pytest.fixture(scope="module")
def program(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limited")
    program = folder / "limited"
    compiler = shlex.split(os.environ.get("CC") or "cc")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    linked = [*flags(prefix, "--cflags", "--libs"), f"-Wl,-rpath,{prefix}/lib", "-lpthread"]
    run(*compiler, *strict, SOURCE, "-o", program, *linked)
    return program


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, str]]:
    """A sandbox over TLS, and the settings for it."""
    authority = tmp_path_factory.mktemp("authority") / "ca.pem"
    with Sandbox("--tls", "--ca-out", str(authority)) as sandbox:
        yield sandbox, settings(base_url=sandbox.url, ca_file=str(authority))


def settings(**more: object) -> str:
    return json.dumps({"username": "sandbox", "password": "sandbox", "max_attempts": 1, **more})


# The name of this host is looked up, and no name server knows it, so no request is sent.
AWAY = settings(base_url="https://klarna.invalid", timeout_ms=5000)


def test_the_promised_stack_is_enough_for_every_call(
    program: Path, tls: tuple[Sandbox, str]
) -> None:
    sandbox, config = tls
    order = sandbox.order()
    told = run(program, "stack", str(STACK_KIB), config, order).strip()
    [capture] = sandbox.ledger(order)
    assert told == capture["capture_id"]


def test_the_promised_stack_is_enough_for_failures(program: Path, tls: tuple[Sandbox, str]) -> None:
    sandbox, config = tls
    untrusted = settings(base_url=sandbox.url)
    closed = settings(base_url="https://127.0.0.1:1")
    proxied = settings(base_url="https://klarna.invalid", proxy="http://127.0.0.1:1")
    sizes = [(untrusted, STACK_KIB), (closed, STACK_KIB), (AWAY, STACK_KIB), (proxied, PROXIED_KIB)]
    for given, kib in sizes:
        told = run(program, "stack", str(kib), given, "an-order")
        assert told.startswith("not_sent: "), told
    told = run(program, "stack", str(STACK_KIB), config, "no-such-order")
    assert told.startswith("outcome_unknown: ") or told.startswith("rejected: "), told
    assert run(program, "stack", str(STACK_KIB), "{", "an-order").startswith("invalid_input: ")


@pytest.mark.parametrize("limit", range(3, 9))
def test_few_descriptors_are_named(program: Path, tls: tuple[Sandbox, str], limit: int) -> None:
    sandbox, config = tls
    for given in (config, AWAY):
        told = run(program, "nofile", str(limit), given, sandbox.order())
        # Five are enough for a call: three are the program's own.
        assert limit >= 5 or told.startswith(("not_sent: ", "invalid_input: ")), told
        assert limit >= 5 or "no file descriptor was left" in told, told
        assert "internal" not in told, told


def test_a_limit_of_threads_is_named(program: Path) -> None:
    told = run(program, "nproc", "0", AWAY, "an-order")
    assert told.startswith("not_sent: "), told
    assert "no thread could be started to look its name up" in told, told


def test_a_thread_that_memory_is_too_small_for_is_named(program: Path) -> None:
    """The stack of the thread that looks a name up does not fit; everything smaller does."""
    told = run(program, "as", "1500", AWAY, "an-order")
    assert told.startswith("not_sent: "), told
    assert "no thread could be started to look its name up" in told, told


@pytest.mark.parametrize("store", ["/nowhere", "/", "/dev/null"])
def test_a_trust_store_without_authorities_is_named(program: Path, store: str) -> None:
    nowhere = {"SSL_CERT_FILE": store, "SSL_CERT_DIR": "/nowhere"}
    told = run(program, "nofile", "64", AWAY, "an-order", **nowhere)
    assert told.startswith("not_sent: "), told
    assert "the system's certificate authorities cannot be read, give ca_file" in told, told
    assert f"SSL_CERT_FILE={store}" in told, told


@pytest.mark.parametrize("store", ["/nowhere", "/", "/dev/null"])
def test_a_ca_file_without_authorities_is_named(program: Path, store: str) -> None:
    config = settings(base_url="https://klarna.invalid", ca_file=store)
    told = run(program, "nofile", "64", config, "an-order")
    assert told.startswith(f'invalid_input: ca_file "{store}" '), told
