"""The workflows, which run nowhere here: their form, what linters say, what they must hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT, TARGET, run

TOOLS = TARGET / "venv/bin"
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def jobs(workflow: Path) -> set[str]:
    return set(re.findall(r"^  ([\w-]+):$", workflow.read_text().split("\njobs:\n")[1], re.M))


def test_they_are_what_github_reads() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]
    # the same verdict where these two are installed as where they are not
    run(TOOLS / "actionlint", "-shellcheck=", "-pyflakes=", *WORKFLOWS)


def test_they_are_safe() -> None:
    run(TOOLS / "zizmor", "--offline", GITHUB / "workflows")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_they_call_what_there_is(workflow: Path) -> None:
    text = workflow.read_text()
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"run: make ([\w-]+)", text)) <= known
    called = set(re.findall(r"scripts/[\w.-]+", text))
    assert all((ROOT / name).exists() for name in called), called
    needed = {
        name for names in re.findall(r"needs: \[?([\w, -]+)", text) for name in names.split(", ")
    }
    assert needed <= jobs(workflow)
    # the head lists the jobs that we could not run
    assert "We could run" in text.split("\nname: ")[0]


def test_nothing_is_published_that_was_not_built_and_tried_out() -> None:
    text = (GITHUB / "workflows/release.yml").read_text()
    [last] = re.findall(r"needs: \[(.*)\]", text)
    assert {*last.split(", ")} == jobs(GITHUB / "workflows/release.yml") - {"github", "pypi"}
    assert "needs: github" in text.split("\n  pypi:\n")[1]
    assert text.count("try_wheel.py") + text.count("make test-dist") == len(last.split(", "))
