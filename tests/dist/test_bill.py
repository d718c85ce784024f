"""The bill of materials, against Cargo.lock and against what the compiler left in the libraries."""

from __future__ import annotations

import json
import os
import re
import tarfile
import urllib.parse
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import only
from sbom import ARTEFACTS
from support import ROOT, run

LOCK = (ROOT / "Cargo.lock").read_text()


@pytest.fixture(scope="module")
def bill(dist: Path) -> dict[str, Any]:
    """The bill, which scripts/sbom.py checked against CycloneDX's schema before writing it."""
    return dict(json.loads(only(dist, "*.cdx.json").read_text()))


def parts(bill: dict[str, Any], artefact: str) -> set[str]:
    """The parts of an artefact, as name-version."""
    [entry] = [entry for entry in bill["dependencies"] if entry["ref"] == artefact]
    return {ref.removeprefix("pkg:cargo/").replace("@", "-") for ref in entry["dependsOn"]}


def test_each_crate_has_version_licence_and_checksum_of_the_lock_file(bill: dict[str, Any]) -> None:
    locked = {}
    for block in LOCK.split("[[package]]")[1:]:
        told = dict(re.findall(r'^(\w+) = "(.*)"$', block, re.MULTILINE))
        locked[f"pkg:cargo/{told['name']}@{told['version']}"] = told.get("checksum")
    crates = [part for part in bill["components"] if part["purl"].startswith("pkg:cargo/")]
    assert len(crates) > 100
    for crate in crates:
        checksum = locked[crate["bom-ref"]]
        hashes = [{"alg": "SHA-256", "content": checksum}] if checksum else []
        assert crate.get("hashes", []) == hashes
        assert urllib.parse.unquote(crate["purl"].split("?")[0]) == crate["bom-ref"]
        assert checksum or crate["name"].startswith("takings")
        [licence] = crate["licenses"]
        assert licence["expression"]


def named(binary: bytes) -> set[str]:
    """The crates in whose sources the places of panics and the lines of debug information are."""
    place = rb"(?:registry/src/[^/\0]+|crates)/([a-z0-9_-]+-\d+\.\d+\.\d+[a-z0-9.+-]*)/"
    return {name.decode() for name in re.findall(place, binary)}


def test_no_crate_that_is_in_a_library_is_left_out(dist: Path, bill: dict[str, Any]) -> None:
    with zipfile.ZipFile(only(dist, "takings-*.whl")) as archive:
        [module] = [name for name in archive.namelist() if name.endswith(".so")]
        found = {"takings for Python": named(archive.read(module))}
    for artefact, part, file in [
        ("takings for C and C++", "c", r"libtakings\.so\.\d+\.\d+\.\d+"),
        ("takings for Lua", "lua", r"5\.4/takings\.so"),
        ("takings-sandbox", "sandbox", "takings-sandbox"),
        ("the program takings", "cli", "takings"),
    ]:
        with tarfile.open(only(dist, f"takings-{part}-*.tar.gz")) as tar:
            members = [member for member in tar if re.search(f"/{file}$", member.name)]
            binary = tar.extractfile(members[0])
            assert binary is not None
            found[artefact] = named(binary.read())
    assert found.keys() == ARTEFACTS.keys() - {"takings for Rust"}
    every = {
        "-".join(re.findall(r'^(?:name|version) = "(.*)"$', block, re.MULTILINE))
        for block in LOCK.split("[[package]]")[1:]
    }
    for artefact, crates in found.items():
        assert {name for name in crates if name.startswith("rustls-")}, artefact
        # `make build` builds all together, tests too, so that crates have the features of others.
        known = parts(bill, artefact) if "TAKINGS_DIST" in os.environ else every
        assert crates <= known, artefact


def test_what_compiler_and_linker_put_in_is_told(
    dist: Path, bill: dict[str, Any], tmp_path: Path
) -> None:
    """A library that unwinds without gcc's library has what does so inside."""
    with zipfile.ZipFile(only(dist, "takings-*.whl")) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".so")]
        module = archive.extract(name, tmp_path)
    assert "libgcc_s" not in run("readelf", "--dynamic", module)
    named = {part["bom-ref"].replace("@", "-"): part["name"] for part in bill["components"]}
    others = {part for part in parts(bill, "takings for Python") if part.startswith("pkg:")}
    assert {named[part] for part in others} == {"rust-std", "ziglang"}


def test_what_only_runs_in_the_compiler_is_told_apart(bill: dict[str, Any]) -> None:
    scopes = {part["name"]: part["scope"] for part in bill["components"]}
    assert {scopes[name] for name in ("takings", "ring", "pyo3", "mlua", "rcgen")} == {"required"}
    assert {scopes[name] for name in ("syn", "serde_derive", "cc")} == {"excluded"}
    # Crates that only tests and benchmarks use are in no artefact.
    assert not scopes.keys() & {"proptest", "cbindgen", "criterion", "takings-conformance"}
