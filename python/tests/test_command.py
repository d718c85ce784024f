"""`python -m takings` and `takings-sandbox`: what they say, and that they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import takings
from conftest import sandbox_program

SETTINGS = ("KLARNA_", "SSL_CERT_", "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
BESIDE = Path(sys.executable).parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "takings", *arguments],
        # not the sources, which lack the compiled half
        cwd=BESIDE,
        env=CLEAN | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(**environment: str) -> dict[str, str]:
    done = run(**environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == f"takings {takings.__version__}"
    facts = [re.split(r"  +", line.strip(), maxsplit=1) for line in lines]
    return {what: found for what, found in facts}


def test_what_is_installed() -> None:
    facts = told()
    assert "rustls with ring" in facts["build"]
    assert facts["package"] == str(Path(takings.__file__).parent)
    assert re.match(r"rustls \d+\.\d+\.\d+, ring \d+\.\d+\.\d+, ", facts["compiled from"])
    assert sys.executable in facts["Python"]


def test_the_environment_as_seen() -> None:
    facts = told()
    assert {value for name, value in facts.items() if name.startswith("KLARNA_")} == {"not set"}
    assert facts["calls go to"].startswith("nowhere yet: credentials are missing")
    assert facts["proxy"] == "none"
    facts = told(
        KLARNA_USERNAME="user",
        KLARNA_PASSWORD="password",
        KLARNA_ENVIRONMENT="playground",
        KLARNA_REGION="na",
        HTTPS_PROXY="http://proxy.example:3128",
        NO_PROXY="intern.example",
    )
    assert facts["KLARNA_PASSWORD"] == facts["KLARNA_USERNAME"] == "set"
    assert facts["KLARNA_ENVIRONMENT"] == "playground"
    assert facts["calls go to"] == "https://api-na.playground.klarna.com/"
    assert facts["proxy"] == (
        'proxy.example:3128, by HTTPS_PROXY, but for the hosts in NO_PROXY: "intern.example"'
    )


def test_no_secret_shows() -> None:
    secrets = {
        "KLARNA_USERNAME": "user-secret",
        "KLARNA_PASSWORD": "password-secret",
        "KLARNA_API_KEY": "klarna_live_api_secret",
        "KLARNA_BASE_URL": "https://url-user:url-secret@gateway.example/",
        "HTTPS_PROXY": "http://proxy-user:proxy-secret@proxy.example:3128",
    }
    some = [{name: secrets[name] for name in secrets if name != without} for without in secrets]
    some.append({**secrets, "HTTPS_PROXY": "ftp://proxy-user:proxy-secret@proxy.example"})
    for environment in some:
        done = run(**environment)
        assert done.returncode == 0
        for word in ("secret", "proxy-user", "url-user"):
            assert word not in done.stdout + done.stderr, (environment, done.stdout)
    assert "ends with white space" in run(KLARNA_PASSWORD="secret\n").stdout


def test_the_trust_store(tmp_path: Path) -> None:
    if sys.platform != "linux":
        return
    assert re.match(r"\d+ in /", told()["trusted authorities"])
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    found = told(SSL_CERT_FILE=str(empty))["trusted authorities"]
    assert found.startswith(f"NONE in SSL_CERT_FILE={empty}"), found
    found = told(SSL_CERT_FILE=str(tmp_path / "absent.pem"))["trusted authorities"]
    assert found.startswith("NONE in SSL_CERT_FILE="), found
    assert "absent.pem" in found.split(";")[-1], found


def test_a_word_that_is_no_command() -> None:
    done = run("sandbx")
    assert (done.returncode, done.stdout) == (2, "")
    assert "sandbx is not a command" in done.stderr
    assert "usage: python -m takings" in done.stderr
    assert run("--help").stdout.startswith("usage: python -m takings")
    assert run("--version").stdout == f"takings {takings.__version__}\n"


def start(
    *flags: str, command: tuple[str, ...] = (sys.executable, "-m", "takings", "sandbox")
) -> Any:
    process = subprocess.Popen(
        [*command, *flags],
        cwd=BESIDE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), (url, process.communicate())
    return process, url


def test_the_sandbox_is_in_the_wheel() -> None:
    process, url = start("--order", "order-1=6000", "--parent-watch")
    with takings.Client("sandbox", "sandbox", base_url=url) as client:
        assert client.capture("order-1", captured_amount=6000).attempts == 1
    # The program ends with its parent, which holds its standard input.
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_ends_on_a_signal(sign: signal.Signals) -> None:
    process, _ = start()
    began = time.monotonic()
    process.send_signal(sign)
    output = process.communicate(timeout=120)
    assert time.monotonic() - began < 5
    assert process.returncode == -sign
    assert "Traceback" not in output[1]


def test_it_is_the_same_program() -> None:
    """With the command that pip installs, and with the one that cargo builds."""
    for arguments in (["--help"], ["--version"], ["--order", "nonsense"], ["--no-such-flag"]):
        answers = [
            subprocess.run([*command, *arguments], capture_output=True, timeout=120, check=False)
            for command in ([sandbox_program()], [BESIDE / "takings-sandbox"])
        ]
        first, second = [(done.returncode, done.stdout, done.stderr) for done in answers]
        assert first == second
        assert first != (0, b"", b"")
    process, _ = start("--parent-watch", command=(str(BESIDE / "takings-sandbox"),))
    process.communicate(timeout=120)


def test_the_worker_is_the_program_of_the_path(tmp_path: Path) -> None:
    program = tmp_path / "takings"
    program.write_text('#!/bin/sh\necho "$0 $*"\nexit 3\n')
    program.chmod(0o755)
    done = run("worker", "--hands", "8", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.stdout, done.stderr) == (f"{program} worker --hands 8\n", "")
    assert done.returncode == 3


def test_without_the_program_the_way_to_it_is_told(tmp_path: Path) -> None:
    done = run("worker", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert 'pip install "takings[ledger]"' in done.stderr
