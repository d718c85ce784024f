"""Writes the software bill of materials: each crate that goes into what is given away, and what
compiler and linker put in, for the platform it runs on, as CycloneDX.

    scripts/sbom.py FILE
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
# The artefacts that are published, and the crate that each is built from.
ARTEFACTS = {
    "takings for Rust": "takings",
    "takings for C and C++": "takings-c",
    "takings for Python": "takings-python",
    # the same crates, whichever Lua it is for
    "takings for Lua": "takings-lua",
    "takings-sandbox": "takings-sandbox",
    "the program takings": "takings-cli",
}
REPOSITORY = "git+https://github.com/takings/takings.git"
# The earliest time of a zip file, for sources that are in no git.
LONG_AGO = 315532800


def said(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def host() -> dict[str, str]:
    """The facts that rustc prints about itself: its release, and the host it builds for."""
    return dict(line.split(": ", 1) for line in said("rustc", "-vV").splitlines() if ": " in line)


# Whether packages are linked for a glibc older than this system's (scripts/cc-for-old-glibc).
OLD_GLIBC = host()["host"].endswith("-linux-gnu")


def last_commit() -> int:
    """When what is packed was last changed, in seconds: a time that is the same for everybody."""
    git = ["git", "log", "-1", "--format=%ct"]
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if not told:
        done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
        told = done.stdout if done.returncode == 0 else None
    return int(told or LONG_AGO)


def crates(package: str, platform: str, edges: str) -> set[tuple[str, str]]:
    """Name and version of each crate below a package, with the features that it asks for."""
    tree = said(
        *("cargo", "tree", "--locked", "--package", package, "--target", platform),
        *("--edges", edges, "--prefix", "none", "--format", "{p}"),
    )
    words = (line.split() for line in tree.splitlines())
    return {(word[0], word[1].removeprefix("v")) for word in words}


def checksums() -> dict[tuple[str, str], str]:
    found = re.findall(
        r'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"',
        (ROOT / "Cargo.lock").read_text(),
    )
    return {(name, version): checksum for name, version, checksum in found}


def component(package: dict[str, Any], checksum: str | None, linked: bool) -> Component:
    name, version = package["name"], package["version"]
    licence = re.sub(r"\s*/\s*", " OR ", package["license"])
    links = {
        ExternalReferenceType.VCS: package["repository"],
        ExternalReferenceType.WEBSITE: package["homepage"],
    }
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=f"pkg:cargo/{name}@{version}",
        # no crate of ours is in Rust's registry
        purl=PackageURL(
            "cargo",
            name=name,
            version=version,
            qualifiers=None if checksum else {"vcs_url": REPOSITORY},
        ),
        description=" ".join((package["description"] or "").split()) or None,
        # a crate that only runs in the compiler is no part of the artefact
        scope=ComponentScope.REQUIRED if linked else ComponentScope.EXCLUDED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else None,
        licenses=[LicenseExpression(licence)],
        external_references=[
            ExternalReference(type=kind, url=XsUri(url)) for kind, url in links.items() if url
        ],
    )


def tool(purl: PackageURL, description: str, licence: str) -> Component:
    """A component that comes with compiler or linker and goes into every artefact."""
    return Component(
        type=ComponentType.LIBRARY,
        name=purl.name,
        version=purl.version,
        bom_ref=purl.to_string(),
        purl=purl,
        description=description,
        scope=ComponentScope.REQUIRED,
        licenses=[LicenseExpression(licence)],
    )


def bill() -> Bom:
    rustc = host()
    platform = rustc["host"]
    metadata = json.loads(
        said("cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", platform)
    )
    packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
    of_id = {package["id"]: key for key, package in packages.items()}
    linked = {name: crates(name, platform, "normal,no-proc-macro") for name in ARTEFACTS.values()}
    everything = set[tuple[str, str]]().union(
        *(crates(name, platform, "normal,build") for name in ARTEFACTS.values())
    )
    [version] = (version for name, version in packages if name == "takings")

    known = checksums()
    components = {
        key: component(packages[key], known.get(key), key in set().union(*linked.values()))
        for key in sorted(everything)
    }
    tools = [
        tool(
            PackageURL("generic", name="rust-std", version=rustc["release"]),
            f"Rust's standard library for {platform}",
            "MIT OR Apache-2.0",
        )
    ]
    if OLD_GLIBC:
        tools.append(
            tool(
                PackageURL("pypi", name="ziglang", version=importlib.metadata.version("ziglang")),
                "What Zig links in: LLVM's libunwind in place of libgcc_s, and compiler-rt",
                "MIT AND Apache-2.0 WITH LLVM-exception",
            )
        )
    artefacts = {
        name: Component(type=ComponentType.LIBRARY, name=name, version=version, bom_ref=name)
        for name in ARTEFACTS
    }
    whole = Component(
        type=ComponentType.LIBRARY,
        name="takings",
        version=version,
        bom_ref="takings",
        licenses=[LicenseExpression("MIT OR Apache-2.0")],
        components=artefacts.values(),
    )

    bom = Bom(components=[*components.values(), *tools])
    bom.metadata.component = whole
    # The same sources give the same bytes.
    bom.metadata.timestamp = datetime.fromtimestamp(last_commit(), timezone.utc)
    bom.register_dependency(whole, artefacts.values())
    for artefact, name in ARTEFACTS.items():
        into = [components[key] for key in linked[name]]
        # nobody links Rust's crate before its user does
        more = tools[:1] if artefact == "takings for Rust" else tools
        bom.register_dependency(artefacts[artefact], [*into, *more])
    for node in metadata["resolve"]["nodes"]:
        key = of_id[node["id"]]
        if key in components:
            below = {of_id[dependency] for dependency in node["dependencies"]}
            bom.register_dependency(
                components[key], [components[each] for each in below & everything - {key}]
            )
    contents = f"{last_commit()} {platform} {rustc['release']} {sorted(everything)}"
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"takings {version} {contents}")
    return bom


def main() -> None:
    text = JsonV1Dot6(bill()).output_as_string(indent=2) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        sys.exit(f"scripts/sbom.py: {wrong}")
    Path(sys.argv[1]).write_text(text)


if __name__ == "__main__":
    main()
