"""The licences: ours in everything, those of the crates in everything that is compiled."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import licences
import pytest
import sbom
from conftest import only
from dist import contents
from support import ROOT

OURS = ("LICENSE-MIT", "LICENSE-APACHE")
THEIRS = "LICENSE-THIRD-PARTY"
ARCHIVES = [f"takings-{part}-*.tar.gz" for part in ("c", "cli", "lua", "sandbox")]
COMPILED = ["takings-*.whl", "takings_cli-*.whl", *ARCHIVES]
SOURCES = ["takings-[0-9]*.tar.gz", "*.crate"]


@functools.cache
def inside(package: Path) -> dict[str, bytes]:
    return {
        name.split("/")[-1]: content
        for name, content in contents(package)
        if name.split("/")[-1].startswith("LICENSE-")
    }


@pytest.mark.parametrize("pattern", COMPILED + SOURCES)
def test_ours_are_in_everything(dist: Path, pattern: str) -> None:
    texts = inside(only(dist, pattern))
    for name in OURS:
        assert texts[name] == (ROOT / name).read_bytes()


@pytest.mark.parametrize("pattern", COMPILED)
def test_theirs_are_in_what_is_compiled(dist: Path, pattern: str) -> None:
    text = inside(only(dist, pattern))[THEIRS].decode()
    bill = json.loads(only(dist, "*.cdx.json").read_text())
    linked = [part for part in bill["components"] if part["scope"] == "required"]
    works = {f"{part['name']} {part['version']}" for part in linked if part.get("hashes")}
    assert len(works) > 80
    heads = [part.lstrip("\n").split("\n\n")[0] for part in text.split(f"\n{'-' * 98}\n")[1:]]
    told = {work for head in heads for work in head.split(", ")}
    assert works == {work for work in told if not work.startswith("rust-std ")}
    # an author's line, and a crate of several authors
    assert "Copyright (c) 2016 Joseph Birr-Pixton" in text
    assert len([head for head in heads if head.startswith("ring ")]) > 1


def crate(folder: Path, name: str, licence: str, *files: str) -> dict[str, Any]:
    (folder / name).mkdir()
    for file in files:
        (folder / name / file).write_text(f"{name}: {file}")
    return {
        "name": name,
        "version": "1.0.0",
        "license": licence,
        "source": "registry",
        "repository": f"https://example.com/{name.split('-')[0]}",
        "manifest_path": str(folder / name / "Cargo.toml"),
    }


def texts(patch: pytest.MonkeyPatch, *crates: dict[str, Any]) -> dict[str, list[str]]:
    patch.setattr(sbom, "said", lambda *command: json.dumps({"packages": crates}))
    patch.setattr(sbom, "host", lambda: {"host": "here", "release": "1.0.0"})
    required = [{**each, "scope": "required"} for each in crates]
    found = licences.texts({"components": required})
    return {text: works for text, works in found.items() if "rust-std 1.0.0" not in works}


def test_of_several_licences_mit_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    either = crate(tmp_path, "either", "Apache-2.0/MIT", "LICENSE-APACHE", "LICENSE-MIT")
    both = crate(tmp_path, "both", "MIT AND ISC", "LICENSE-ISC", "LICENSE-MIT", "README.md")
    forgot = crate(tmp_path, "either-sys", "MIT")
    assert texts(monkeypatch, either, both, forgot) == {
        "either: LICENSE-MIT": ["either 1.0.0", "either-sys 1.0.0"],
        "both: LICENSE-ISC": ["both 1.0.0"],
        "both: LICENSE-MIT": ["both 1.0.0"],
    }


def test_a_crate_without_a_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"bare 1\.0\.0 is under MIT, and brings no text"):
        texts(monkeypatch, crate(tmp_path, "bare", "MIT", "README.md"))
