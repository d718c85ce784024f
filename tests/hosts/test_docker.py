"""The files of examples/hosts/docker: their commands run as processes, since no container does."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import takings
import yaml
from parcels import Web
from support import TARGET, Program, until

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "hosts" / "docker"
LINES = (FOLDER / "Dockerfile").read_text().splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
KLARNA, SHOP = SERVICES["klarna"], SERVICES["shop"]

# The members that the Compose Specification has at these places, as far as the file uses them.
KNOWN = {
    "build",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "ports",
    "stop_grace_period",
}


def entry_points() -> dict[str, list[str]]:
    """The program of each image."""
    found: dict[str, list[str]] = {}
    image = ""
    for line in LINES:
        if line.startswith("FROM "):
            image = line.split(" AS ")[1]
        if line.startswith("ENTRYPOINT "):
            found[image] = json.loads(line.partition(" ")[2])
    return found


def test_the_compose_file_is_one() -> None:
    assert set(COMPOSE) == {"services"}
    for service in SERVICES.values():
        assert set(service) <= KNOWN
        assert set(service["build"]) == {"context", "dockerfile", "target"}
        assert all(isinstance(value, str) for value in service.get("environment", {}).values())
        assert all(isinstance(word, str) for word in service.get("command", []))
        check = service["healthcheck"]
        assert set(check) == {"test", "interval", "timeout", "retries"}
        assert check["test"][0] == "CMD"
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how == {"condition": "service_healthy"}
        for port in service["ports"]:
            # nothing is reached from outside of the machine
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_each_image_is_built_from_the_root() -> None:
    images = {line.split(" AS ")[1] for line in LINES if line.startswith("FROM ")}
    for service in SERVICES.values():
        build = service["build"]
        assert (FOLDER / build["context"]).resolve() == ROOT
        assert ROOT / build["dockerfile"] == FOLDER / "Dockerfile"
        assert build["target"] in images


def test_the_base_images_are_enough() -> None:
    bases = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    # The newest Rust 1 is no older than the workspace asks for. All images have one Debian, since
    # what the first has compiled and its virtual environment run in the others.
    assert bases == {"rust:1-trixie", "debian:trixie-slim"}
    assert re.search(r'^rust-version = "1\.\d+"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)


def test_what_is_copied_exists() -> None:
    for line in LINES:
        if line.startswith("COPY ") and "--from" not in line:
            assert (ROOT / line.split()[1]).exists(), line
    [package] = re.findall(r"--package (\S+)", "\n".join(LINES))
    assert f'name = "{package}"' in (ROOT / "sandbox/Cargo.toml").read_text()
    assert "target" in (FOLDER / "Dockerfile.dockerignore").read_text().split()


def test_gunicorn_is_the_tested_one() -> None:
    [version] = re.findall(r"gunicorn==\S+", "\n".join(LINES))
    assert version in (ROOT / "tests/process/requirements.txt").read_text()


def test_the_programs_start_in_exec_form() -> None:
    assert [Path(entry[0]).name for entry in entry_points().values()] == [
        "takings-sandbox",
        "gunicorn",
    ]


def test_the_shop_may_reach_the_sandbox_over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SHOP["environment"].items():
        monkeypatch.setenv(name, value)
    [port] = [word.partition("=")[2] for word in KLARNA["command"] if word.startswith("--port=")]
    # The name of a service is that of its host.
    assert takings.Client.from_env().base_url == f"http://klarna:{port}/"
    monkeypatch.delenv("KLARNA_INSECURE_HTTP_HOST")
    with pytest.raises(takings.InvalidInput, match="insecure_http_host"):
        takings.Client.from_env()


def here() -> str:
    """A name of this machine that is not the loopback's own, where it has one."""
    with contextlib.suppress(OSError):
        if socket.gethostbyname(socket.gethostname()) == "127.0.0.1":
            return socket.gethostname()
    return "localhost"


@pytest.fixture
def klarna() -> Iterator[tuple[Program, str]]:
    """The service, on a free port of the loopback address; and its port."""
    program = TARGET / "debug" / entry_points()["sandbox"][0]
    changed = {"--port=8181": "--port=0", "--listen=0.0.0.0": "--listen=127.0.0.1"}
    flags = [changed.pop(flag, flag) for flag in KLARNA["command"]]
    assert not changed
    with Program(program, *flags, "--parent-watch", stderr=subprocess.DEVNULL) as running:
        yield running, running.hear().rpartition(":")[2]


@pytest.fixture
def shop(klarna: tuple[Program, str], tmp_path: Path) -> Iterator[Web]:
    """The service, with the environment of the file, on a free port."""
    environment = {
        name: value.replace("klarna", here()).replace("8181", klarna[1])
        for name, value in SHOP["environment"].items()
    }
    [_, *arguments] = entry_points()["shop"]
    arguments = [word.replace("0.0.0.0:8000", "127.0.0.1:0") for word in arguments]
    # the folder that the image copies
    [folder] = [line.split()[1] for line in LINES if line.startswith("COPY examples/")]
    usual = ["--no-control-socket", "--worker-tmp-dir", tmp_path]
    log = tmp_path / "log"
    with (
        log.open("w") as stderr,
        Program(
            *(sys.executable, "-m", "gunicorn", *arguments, *usual),
            environment={**environment, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            server=True,
            stderr=stderr,
            cwd=ROOT / folder,
        ) as program,
    ):
        told = until(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()), 30, "a port")
        yield Web(int(told[1]), program, log)


def is_healthy(service: dict[str, Any], port: int | str) -> bool:
    [told] = [told.split(":")[1] for told in service["ports"]]
    [_, program, *arguments] = service["healthcheck"]["test"]
    program = program.replace("/shop/bin/python", sys.executable)
    arguments = [argument.replace(told, str(port)) for argument in arguments]
    ended = subprocess.run([program, *arguments], capture_output=True, timeout=120, check=False)
    return ended.returncode == 0


def test_the_two_services_do_what_the_head_of_the_file_says(
    klarna: tuple[Program, str], shop: Web
) -> None:
    assert until(lambda: is_healthy(KLARNA, klarna[1]), 20, "the sandbox's health")
    assert until(lambda: is_healthy(SHOP, shop.port), 20, "the shop's health")
    text = (FOLDER / "compose.yaml").read_text()
    head = "".join(line[1:] + "\n" for line in text.splitlines() if line.startswith("#"))
    script = head.partition("then\n")[2].replace("curl ", "curl -sS ")
    script = script.replace("8000", str(shop.port)).replace("8181", klarna[1])
    run = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    captured, ledger = (json.loads(line) for line in run.stdout.replace("}[", "}\n[").splitlines())
    [entry] = ledger
    assert entry["capture_id"] == captured["capture_id"]
    assert (entry["order_id"], entry["captured_amount"]) == ("order-1", 6000)


def test_a_service_that_is_gone_is_not_healthy(klarna: tuple[Program, str]) -> None:
    klarna[0].kill()
    assert not is_healthy(KLARNA, klarna[1])
    assert not is_healthy(SHOP, klarna[1])
