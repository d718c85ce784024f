"""docs/install.md: conftest.py ran the commands of the page; these tests check the results."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from conftest import Installed, only
from support import ROOT
from test_install import VERSION


def test_what_it_says_was_done_to_a_good_end(installed: Installed, dist: Path) -> None:
    packages = {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    assert set(re.findall(r"^(\S+): OK$", installed.said, re.MULTILINE)) == packages
    # python -m takings, of the wheel that was installed
    assert f"takings {VERSION}" in installed.said
    assert f"{installed.desk}/shop/lib" in installed.said
    assert f"libtakings.so.{VERSION}" in installed.said
    # Lua's idempotency key, which is the same everywhere
    assert re.search(r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-", installed.said, re.MULTILINE)
    assert "--parent-watch" in installed.said
    # the program takings, and its worker by `python -m takings worker`
    assert f"takings {VERSION}\n" in installed.said
    assert "--until-quiet" in installed.said


def has(path: Path, told: str) -> bool:
    """The page has the sizes of one platform; another compiler makes somewhat different ones."""
    size = path.stat().st_size / 1e6
    return platform.machine() != "x86_64" or abs(size - float(told)) <= max(0.1, size / 10)


def test_its_table_is_what_was_made_in_the_sizes_that_it_has(
    installed: Installed, dist: Path
) -> None:
    rows = re.findall(r"^\| `(.*?)` \| .* \| ([\d.]+) \|$", installed.page, re.MULTILINE)
    made = {path for path in dist.iterdir() if path.name != "SHA256SUMS"}
    for pattern, told in rows:
        [path] = dist.glob(pattern)
        made.remove(path)
        # those of `make test` are not optimised
        assert has(path, told) or "TAKINGS_DIST" not in os.environ, path.name
    assert made == set()


def test_the_library_has_the_size_that_is_told(installed: Installed) -> None:
    library = installed.home / f"takings/lib/libtakings.so.{VERSION}"
    for text in (installed.page, (ROOT / "ffi-c/README.md").read_text()):
        [told] = re.findall(r"shared\s+library\s+takes\s+([\d.]+)\s+MB", text)
        assert has(library, told)


def test_the_wheel_has_the_size_that_is_told(dist: Path) -> None:
    [told] = re.findall(
        r"In its ([\d.]+) MB \(`ls -l dist/\*\.whl`", (ROOT / "python/README.md").read_text()
    )
    assert has(only(dist, "takings-*.whl"), told) or "TAKINGS_DIST" not in os.environ
