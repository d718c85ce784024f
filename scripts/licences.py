"""Writes the licences of what others made and a bill of materials lists as linked: most ask for
their text beside each copy. Of several to choose from it is MIT, as far as a crate offers that.

    scripts/licences.py BILL FILE
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import sbom

NAMES = re.compile(r"licen[cs]e|copying|copyright|notice", re.IGNORECASE)
HEAD = "takings is under the licences beside this one. Works of others in it are under these:\n"


def files(package: dict[str, Any]) -> list[Path]:
    folder = Path(package["manifest_path"]).parent
    found = sorted(path for path in folder.iterdir() if NAMES.match(path.name))
    mit = [path for path in found if "mit" in path.name.lower()]
    return mit if "MIT" in re.split(r" OR |/", package["license"]) and mit else found


def texts(bill: dict[str, Any]) -> dict[str, list[str]]:
    """Each text, and the works that are under it."""
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    metadata = json.loads(sbom.said(*command, "--filter-platform", sbom.host()["host"]))
    crates = {
        f"{package['name']} {package['version']}": package
        for package in metadata["packages"]
        # not one of ours
        if package["source"]
    }
    linked = (part for part in bill["components"] if part["scope"] == "required")
    found: dict[str, list[str]] = {}
    for work in (f"{part['name']} {part['version']}" for part in linked):
        if work not in crates:
            continue
        crate = crates[work]
        # a crate without a licence text is under that of the others in its repository
        family = [each for each in crates.values() if each["repository"] == crate["repository"]]
        licences = next((paths for each in [crate, *family] if (paths := files(each))), [])
        if not licences:
            sys.exit(f"scripts/licences.py: {work} is under {crate['license']}, and brings no text")
        for path in licences:
            found.setdefault(path.read_text(encoding="utf-8").strip("\n"), []).append(work)
    # this comes with the compiler, and not always with its text
    ours = (sbom.ROOT / "LICENSE-MIT").read_text(encoding="utf-8").strip("\n")
    rust = re.sub("Copyright .*", "Copyright (c) The Rust Project Contributors", ours, count=1)
    found.setdefault(rust, []).append(f"rust-std {sbom.host()['release']}")
    return found


def main() -> None:
    bill, file = map(Path, sys.argv[1:])
    found = texts(json.loads(bill.read_text(encoding="utf-8")))
    parts = [f"{', '.join(works)}\n\n{text}\n" for text, works in found.items()]
    line = "-" * 98
    file.write_text(f"\n{line}\n".join([HEAD, *parts]), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
