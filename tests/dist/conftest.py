"""Tests of what `make dist` packs: see README.md."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "hosts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "process"))

from support import ENVIRONMENT, ROOT, Program, Sandbox, run


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that TAKINGS_DIST names, or the packages of what has been built."""
    if folder := os.environ.get("TAKINGS_DIST"):
        return ROOT / folder
    into = tmp_path_factory.mktemp("dist") / "dist"
    run(sys.executable, ROOT / "scripts/dist.py", "--as-built", into, within=300)
    return into


def only(dist: Path, pattern: str) -> Path:
    [path] = dist.glob(pattern)
    return path


def captures_the_example(sandbox: Sandbox, *program: str | Path) -> None:
    """Runs an example whose answer is lost: the ledger has one capture, that of the output."""
    order = sandbox.order({"fault": "lost_answer"})
    said = run(
        *(*program, order, ROOT / "examples/capture.json"),
        KLARNA_BASE_URL=sandbox.url,
        KLARNA_USERNAME="sandbox",
        KLARNA_PASSWORD="sandbox",
    )
    [capture] = sandbox.ledger(order)
    assert said.splitlines()[0] == f"capture {capture['capture_id']}"


@dataclass
class Installed:
    """The files of a user who ran the commands of docs/install.md, and no others."""

    page: str
    home: Path
    # where they typed it
    desk: Path
    said: str


@pytest.fixture(scope="session")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("elsewhere")
    home, desk = folder / "home", folder / "desk"
    home.mkdir()
    desk.mkdir()
    (desk / "dist").symlink_to(dist)
    (desk / "examples").symlink_to(ROOT / "examples")
    page = (ROOT / "docs/install.md").read_text()
    script = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    assert script.count("make dist\n") == 1
    script = "set -e\n" + script.replace("make dist\n", "")
    # no index is there to be asked
    alone = {"HOME": str(home), "PIP_NO_INDEX": "1", "LUA_INIT": ""}
    path = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"
    with Program("bash", "-c", script, cwd=desk, environment={**alone, "PATH": path}) as shell:
        return Installed(page, home, desk, shell.end(120))


@pytest.fixture(scope="session")
def sandbox(installed: Installed) -> Iterator[Sandbox]:
    """The one that was packed."""
    with pytest.MonkeyPatch.context() as patch:
        program = installed.home / "takings-sandbox/takings-sandbox"
        patch.setenv("TAKINGS_SANDBOX", str(program))
        with Sandbox() as sandbox:
            yield sandbox
