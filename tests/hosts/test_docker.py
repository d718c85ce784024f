"""The files of examples/hosts/docker, as far as they can be read: no container starts here."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import takings
import yaml
from support import TARGET

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "hosts" / "docker"
LINES = (FOLDER / "Dockerfile").read_text().splitlines()
SERVICES: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


def test_each_image_exists_and_is_built_from_the_root() -> None:
    images = {line.split(" AS ")[1] for line in LINES if line.startswith("FROM ")}
    for service in SERVICES.values():
        build = service["build"]
        assert (FOLDER / build["context"]).resolve() == ROOT
        assert ROOT / build["dockerfile"] == FOLDER / "Dockerfile"
        assert build["target"] in images


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
    entries = [
        json.loads(line.partition(" ")[2]) for line in LINES if line.startswith("ENTRYPOINT ")
    ]
    assert [Path(entry[0]).name for entry in entries] == ["takings-sandbox", "gunicorn"]


def test_the_sandbox_takes_its_flags() -> None:
    flags = ["0" if flag == "8181" else flag for flag in SERVICES["klarna"]["command"]]
    program = [TARGET / "debug" / "takings-sandbox", *flags, "--parent-watch"]
    ended = subprocess.run(program, input="", capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("http://127.0.0.1:")


def test_the_shop_finds_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["shop"]["environment"].items():
        monkeypatch.setenv(name, value)
    port = SERVICES["klarna"]["command"][1]
    assert takings.Client.from_env().base_url == f"http://127.0.0.1:{port}/"
    # Their loopback is the same.
    assert SERVICES["shop"]["network_mode"] == "service:klarna"
