"""The folder as a whole, and the archives for C, C++ and Lua: each serves where it is unpacked."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from batch import captures_each_once
from conftest import Installed, captures_the_example, only
from sbom import LONG_AGO
from support import ROOT, Sandbox, run
from test_cmake import EXAMPLE, built
from test_install import FILES, VERSION, files
from test_lua import ALONE, CAPTURE, INTERPRETERS


def test_everything_is_there_and_says_version_and_platform(dist: Path) -> None:
    place = r"linux-(x86_64|aarch64)-(glibc2\.\d+|musl)"
    version = re.escape(VERSION)
    wanted = [
        r"SHA256SUMS",
        rf"takings-{version}-cp310-abi3-.*linux.*_(x86_64|aarch64)\.whl",
        rf"takings-{version}-(x86_64|aarch64)-unknown-linux-(gnu|musl)\.cdx\.json",
        rf"takings-{version}\.crate",
        rf"takings-{version}\.tar\.gz",
        *(rf"takings-{part}-{version}-{place}\.tar\.gz" for part in ("c", "cli", "lua", "sandbox")),
        rf"takings_cli-{version}-py3-none-.*linux.*_(x86_64|aarch64)\.whl",
    ]
    names = sorted(path.name for path in dist.iterdir())
    assert len(names) == len(wanted)
    for name, pattern in zip(names, wanted, strict=True):
        assert re.fullmatch(pattern, name), name


def test_the_checksums_are_those_of_all_files(dist: Path) -> None:
    listed = {line.split()[1] for line in (dist / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in dist.iterdir()} - {"SHA256SUMS"}
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, check=True)


@pytest.mark.parametrize("part", ["c", "cli", "lua", "sandbox"])
def test_an_archive_tells_nothing_of_who_packed_it(dist: Path, part: str) -> None:
    archive = only(dist, f"takings-{part}-*.tar.gz")
    # no time and no name in gzip's own head
    assert archive.read_bytes()[3:8] == bytes(5)
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert {name.split("/")[0] for name in names} == {archive.name.removesuffix(".tar.gz")}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, "", "")
    }
    assert {member.mode for member in members if not member.issym()} == {0o644, 0o755}
    [time] = {member.mtime for member in members}
    assert time >= LONG_AGO
    assert {"LICENSE-APACHE", "LICENSE-MIT", "README.md"} < {name.split("/")[-1] for name in names}


@pytest.fixture(scope="module")
def prefix(installed: Installed) -> Path:
    return installed.home / "takings"


def test_c_has_what_make_install_puts_in_place(prefix: Path) -> None:
    more = {f"share/doc/takings/{name}" for name in ("README.md", "LICENSE-THIRD-PARTY")}
    examples = {name for name in files(prefix) if name.startswith("share/doc/takings/examples/")}
    assert files(prefix) - examples == FILES | more
    names = {name.rpartition("/")[2] for name in examples}
    assert {"capture.c", "sender.c", "Takings.php", "capture.cob", "CMakeLists.txt"} < names


@pytest.mark.parametrize("part", ["c", "cli", "lua"])
def test_the_pages_in_an_archive_lead_somewhere(dist: Path, part: str) -> None:
    with tarfile.open(only(dist, f"takings-{part}-*.tar.gz")) as tar:
        [page] = [name for name in tar.getnames() if name.endswith("README.md")]
        file = tar.extractfile(page)
        assert file
        links = re.findall(r"\]\(([^)\s]+)\)", file.read().decode())
    assert links
    for link in links:
        repository = re.match(
            r"https://github\.com/takings/takings/(?:blob|tree)/main/([^#]+)", link
        )
        assert "://" in link or link.startswith("#"), link
        assert not repository or (ROOT / repository[1]).exists(), link


def test_c_through_pkg_config(sandbox: Sandbox, installed: Installed) -> None:
    captures_the_example(sandbox, installed.desk / "capture")


def test_cpp_through_cmake(sandbox: Sandbox, prefix: Path, tmp_path: Path) -> None:
    program = built(shutil.copytree(EXAMPLE, tmp_path / "shop"), prefix)
    captures_each_once(sandbox, program)


@pytest.mark.parametrize("version", list(INTERPRETERS))
def test_lua(sandbox: Sandbox, installed: Installed, version: str) -> None:
    modules = {"LUA_CPATH": f"{installed.home}/takings-lua/{version}/?.so"}
    captures_each_once(sandbox, INTERPRETERS[version], CAPTURE, **ALONE, **modules)


def test_the_name_says_which_glibc_is_wanted(dist: Path, prefix: Path) -> None:
    """The glibc that the loader would ask for, read by another program."""
    told = re.search(r"glibc(2\.\d+)", only(dist, "takings-c-*.tar.gz").name)
    assert told
    wanted = run("readelf", "--wide", "--version-info", prefix / "lib/libtakings.so")
    versions = [int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", wanted)]
    assert versions
    assert max(versions) <= int(told[1].split(".")[1])
