"""The forms for issues and pull requests: that GitHub takes them, and that they warn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in FOLDER.glob("*.yml") if path.name != "config.yml")
WARNING = re.compile(r"Never paste credentials, or data of a live order")


def test_there_is_a_form_for_each_kind() -> None:
    assert {form.stem for form in FORMS} == {"bug", "message", "question"}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: str(path.stem))
def test_a_form_is_one_that_github_takes(path: Path) -> None:
    form: dict[str, Any] = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "labels", "body"}
    first, *fields = form["body"]
    assert first["type"] == "markdown"
    assert WARNING.search(first["attributes"]["value"])
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    for field in fields:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes")
        assert field["attributes"]["label"]
        if "options" in field["attributes"]:
            assert len(field["attributes"]["options"]) > 0
    [last] = fields[-1]["attributes"]["options"]
    assert last["required"]
    assert "no credentials" in last["label"]


def test_a_vulnerability_is_reported_in_private() -> None:
    config: dict[str, Any] = yaml.safe_load((FOLDER / "config.yml").read_text())
    assert config["blank_issues_enabled"] is False
    [link] = config["contact_links"]
    assert set(link) == {"name", "url", "about"}
    assert link["url"].endswith("/security/advisories/new")


def test_others_point_there() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    request = (ROOT / ".github/pull_request_template.md").read_text()
    assert WARNING.search(contributing)
    assert WARNING.search(request)
    for named in re.findall(r"`(\.github/[\w/.]+)`", contributing):
        assert (ROOT / named).exists(), named
