"""Projects that find the installed library with CMake."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from batch import captures_each_once, needs_an_account, tells_a_refusal
from support import ROOT, Program, Sandbox, run

EXAMPLE = ROOT / "examples/hosts/cmake"
C = ROOT / "examples/hosts/c-threads/capture.c"


def cmake(source: Path, prefix: Path) -> str:
    return run("cmake", "-S", source, "-B", source / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def built(folder: Path, prefix: Path) -> Path:
    cmake(folder, prefix)
    run("cmake", "--build", folder / "build")
    return folder / "build/capture"


def is_shared(program: Path) -> bool:
    return "[libtakings.so.1]" in run("readelf", "--wide", "--dynamic", program)


def test_cpp(sandbox: Sandbox, prefix: Path, tmp_path: Path) -> None:
    shop = shutil.copytree(EXAMPLE, tmp_path / "shop")
    program = built(shop, prefix)
    assert is_shared(program)
    captures_each_once(sandbox, program)
    tells_a_refusal(sandbox, program)
    needs_an_account(sandbox, program)


def test_cpp_static(sandbox: Sandbox, prefix: Path, tmp_path: Path) -> None:
    shop = shutil.copytree(EXAMPLE, tmp_path / "shop")
    recipe = shop / "CMakeLists.txt"
    text = recipe.read_text()
    assert "PRIVATE takings::takings)" in text
    recipe.write_text(text.replace("PRIVATE takings::takings)", "PRIVATE takings::static)"))
    program = built(shop, prefix)
    assert not is_shared(program)
    captures_each_once(sandbox, program)


@pytest.mark.parametrize("target", ["takings::takings", "takings::static"])
def test_c(sandbox: Sandbox, prefix: Path, tmp_path: Path, target: str) -> None:
    """A project without C++, and in a folder that was moved after the installation."""
    moved = shutil.copytree(prefix, tmp_path / "moved here", symlinks=True)
    (tmp_path / "CMakeLists.txt").write_text(
        f"""cmake_minimum_required(VERSION 3.16)
project(shop C)
find_package(takings 0.1.0 CONFIG REQUIRED)
find_package(takings CONFIG REQUIRED) # by another part of the project
find_package(Threads REQUIRED)
add_executable(capture {C})
target_link_libraries(capture PRIVATE {target} Threads::Threads)
"""
    )
    program = built(tmp_path, moved)
    assert is_shared(program) == (target == "takings::takings")
    captures_each_once(sandbox, program, "4")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", True),
        ("0.1", True),
        ("0.1.0 EXACT", True),
        ("0.1...<0.3", True),
        ("0.0...0.1", True),
        ("0.1.7", False),
        ("0.2", False),
        ("0.0.1", False),
        ("1", False),
        ("0.0...<0.1", False),
    ],
)
def test_versions(prefix: Path, tmp_path: Path, wanted: str, found: bool) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"""cmake_minimum_required(VERSION 3.19)
project(shop NONE)
find_package(takings {wanted} CONFIG)
message(STATUS "found: ${{takings_FOUND}}")
"""
    )
    with Program(
        "cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"
    ) as program:
        output, complaints = program.process.communicate(timeout=60)
    assert program.process.returncode == 0, complaints
    assert f"found: {int(found)}" in output, complaints
    if not found:
        assert "version: 0.1.0" in complaints
