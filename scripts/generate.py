"""Writes the files that follow from the core's declarations: types, getters, stubs, dictionaries.

    scripts/generate.py            writes them
    scripts/generate.py --check    fails where one is not what the core's declarations make of it

The core describes its operations, objects, records and settings (`takings::binding::schema`). Each
module of `scripts/faces` makes the files of one language from that description.
"""

from __future__ import annotations

import argparse
import difflib
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FACES = sorted(path.stem for path in (ROOT / "scripts/faces").glob("[a-z]*.py"))


def schema() -> dict[str, Any]:
    # Without a choice of packages: another choice builds the shared crates again.
    command = ["cargo", "run", "--quiet", "--locked", "--example", "schema"]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    described: dict[str, Any] = json.loads(ended.stdout)
    return described


def generated(described: dict[str, Any]) -> dict[str, str]:
    """Every generated file: its path in the repository, and its text."""
    files: dict[str, str] = {}
    for name in FACES:
        for path, text in import_module(f"faces.{name}").files(described).items():
            assert path not in files, f"{path} is made twice"
            files[path] = text
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    stale = 0
    for path, text in sorted(generated(schema()).items()):
        place = ROOT / path
        found = place.read_text(encoding="utf-8") if place.exists() else ""
        if found == text:
            continue
        if not arguments.check:
            place.write_text(text, encoding="utf-8")
            print(f"written: {path}")
            continue
        stale += 1
        lines = difflib.unified_diff(
            found.splitlines(), text.splitlines(), path, "generated", lineterm=""
        )
        print("\n".join(list(lines)[:40]))
    if stale:
        print(f"{stale} generated files are stale; `make bless` writes them")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
