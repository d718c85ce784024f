"""The files that `make install` puts in place, and that `make uninstall` removes again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT, Program, run

VERSION = run("sed", "-n", 's/^version = "\\(.*\\)"/\\1/p', ROOT / "Cargo.toml").split()[0]
INSTALL = ROOT / "ffi-c/install.sh"
FILES = {
    "include/takings.h",
    "include/takings.hpp",
    "lib/cmake/takings/takings-config-version.cmake",
    "lib/cmake/takings/takings-config.cmake",
    "lib/libtakings.a",
    "lib/libtakings.so",
    "lib/libtakings.so.1",
    f"lib/libtakings.so.{VERSION}",
    "lib/pkgconfig/takings.pc",
    "share/doc/takings/LICENSE-APACHE",
    "share/doc/takings/LICENSE-MIT",
    "share/takings/takings.cpy",
    "share/takings/takings.ffi.h",
}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_everything_is_in_its_place_and_can_be_moved(prefix: Path) -> None:
    assert files(prefix) == FILES
    for name in FILES:
        path = prefix / name
        if path.suffix in (".pc", ".cmake", ".h", ".hpp", ".cpy"):
            text = path.read_text()
            assert str(prefix) not in text
            assert not re.search(r"@[A-Z_]+@", text), f"{name} was not filled in"
            assert path.stat().st_mode & 0o777 == 0o644
    assert (prefix / "lib/libtakings.so").resolve() == prefix / f"lib/libtakings.so.{VERSION}"
    assert (prefix / "lib/libtakings.so.1").resolve() == prefix / f"lib/libtakings.so.{VERSION}"


def test_the_shared_library_is_small_and_exports_what_is_promised(prefix: Path) -> None:
    library = prefix / "lib/libtakings.so"
    assert library.stat().st_size < 5_000_000
    exported = {line.split()[2] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    promised = (ROOT / "ffi-c/abi.txt").read_text().splitlines()
    functions = [line.split("(")[0] for line in promised if line.endswith(")")]
    assert exported == {name.split()[-1].lstrip("*") for name in functions}
    assert "soname: [libtakings.so.1]" in run("readelf", "--wide", "--dynamic", library)


def test_php_and_cobol_have_what_the_header_says(prefix: Path) -> None:
    header = (prefix / "include/takings.h").read_text().splitlines()
    cdef = (prefix / "share/takings/takings.ffi.h").read_text().splitlines()
    assert not [line for line in cdef if line.startswith("#")]
    assert [line for line in header if line.endswith(");")] == [
        line for line in cdef if line.endswith(");")
    ]
    copybook = (prefix / "share/takings/takings.cpy").read_text()
    assert "78 TAKINGS-ERROR-OUTCOME-UNKNOWN VALUE 4.\n" in copybook
    assert copybook.count(" 78 ") == sum(" = " in line and line.endswith(",") for line in header)


def test_a_package_is_made_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Installs as for a distribution, with another folder for libraries; then removes all."""
    where = {"DESTDIR": str(tmp_path), "PREFIX": "/opt/shop", "LIBDIR": "lib/x86_64-linux-gnu"}
    run(INSTALL, "install", **where)
    shop = tmp_path / "opt/shop"
    assert files(shop) == {name.replace("lib/", "lib/x86_64-linux-gnu/") for name in FILES}
    folder = shop / "lib/x86_64-linux-gnu/pkgconfig"
    flags = run("pkg-config", "--cflags", "--libs", "takings", PKG_CONFIG_PATH=str(folder))
    found = [Path(word[2:]).resolve() for word in flags.split() if word[:2] in ("-I", "-L")]
    assert found == [shop / "include", shop / "lib/x86_64-linux-gnu"]
    (shop / "lib/libother.so").write_text("somebody else's")
    run(INSTALL, "uninstall", **where)
    assert files(tmp_path) == {"opt/shop/lib/libother.so"}
    assert not (shop / "share/takings").exists()
    # there is nothing left to do
    run(INSTALL, "uninstall", **where)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"LIBDIR": "/opt/lib"}, "LIBDIR is /opt/lib; it must be a folder below PREFIX"),
        ({"LIBDIR": "../lib"}, "LIBDIR is ../lib; it must be a folder below PREFIX"),
        ({"PREFIX": "~/.local"}, "PREFIX is ~/.local, which no shell has read; write $HOME for ~"),
        ({"CARGO_TARGET_DIR": "/nowhere"}, "/nowhere/release holds no library yet"),
    ],
)
def test_a_wrong_place_is_told(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    place = {"DESTDIR": str(tmp_path), "PREFIX": "/usr", **wrong}
    with Program(INSTALL, "install", environment=place) as program:
        _, complaints = program.process.communicate(timeout=60)
    assert program.process.returncode == 1
    assert said in complaints
    assert files(tmp_path) == set()
