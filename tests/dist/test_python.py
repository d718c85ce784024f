"""The wheel and the source distribution, for a user who has nothing else."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Installed, captures_the_example, only
from support import ENVIRONMENT, ROOT, TARGET, Program, Sandbox, run
from test_install import VERSION

TOOLS = TARGET / "venv/bin"


def captures(sandbox: Sandbox, *python: str | Path) -> None:
    captures_the_example(sandbox, *python, ROOT / "examples/capture.py")


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return only(dist, "takings-*.whl")


@pytest.fixture(scope="module")
def programs(installed: Installed) -> Path:
    """Those of a new virtual environment with nothing but the wheel."""
    return installed.desk / "shop/bin"


def test_the_wheel_runs_on_the_systems_that_it_names(wheel: Path) -> None:
    said = " ".join(run(TOOLS / "auditwheel", "show", wheel).split())
    told = re.search(r'consistent with the following platform tag: "(\w+)"', said)
    assert told, said
    assert re.fullmatch(r"manylinux_2_17_(x86_64|aarch64)", told[1])
    assert wheel.name.endswith(f"{told[1]}.whl")
    # maturin had no library to add: the wheel needs only those of glibc
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if ".libs/" in name]


def test_the_wheel_keeps_to_the_stable_abi(wheel: Path) -> None:
    run(TOOLS / "abi3audit", "--strict", wheel)


def test_the_wheel_has_licences_and_a_bill_of_materials(dist: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        head = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        info = head.removesuffix("METADATA")
        for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
            assert archive.read(f"{info}licenses/{licence}") == (ROOT / licence).read_bytes()
        [bill] = [name for name in archive.namelist() if name.startswith(f"{info}sboms/")]
        inside, beside = (
            json.loads(archive.read(bill)),
            json.loads(only(dist, "*.cdx.json").read_text()),
        )
    # the times of their commits apart
    for member in ("components", "dependencies"):
        assert inside[member] == beside[member]


def test_the_wheel_captures(sandbox: Sandbox, programs: Path) -> None:
    listed = run(programs / "python", "-m", "pip", "list", "--format=freeze")
    assert {line.split("==")[0] for line in listed.split()} <= {
        "pip",
        "setuptools",
        "takings",
        "takings-cli",
    }
    captures(sandbox, programs / "python")


def test_the_wheel_is_tried_out_as_on_other_systems(wheel: Path) -> None:
    said = run(sys.executable, ROOT / "scripts/try_wheel.py", wheel)
    assert said.startswith(f"16 orders captured once each by takings {VERSION}, ")


def test_the_wheel_brings_the_sandbox(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKINGS_SANDBOX", str(programs / "takings-sandbox"))
    with Sandbox() as sandbox:
        captures(sandbox, programs / "python")


def test_the_wheel_brings_a_pytest_plugin(programs: Path, tmp_path: Path) -> None:
    [pytest_wanted] = re.findall(
        r"^pytest==.*$", (ROOT / "python/requirements-dev.txt").read_text(), re.MULTILINE
    )
    run(programs / "python", "-m", "pip", "install", "--quiet", pytest_wanted)
    (tmp_path / "test_shop.py").write_text(
        """import takings

def test_a_lost_answer_takes_the_money_once(klarna_env):
    order_id = klarna_env.create_order(6000, faults=["lost_answer"])
    takings.Client.from_env().capture(order_id, captured_amount=6000)
    assert len(klarna_env.ledger(order_id)) == 1
"""
    )
    with Program(programs / "python", "-m", "pytest", cwd=tmp_path) as program:
        assert "1 passed" in program.end()


def bring_up_to_date(folder: Path, wanted: Path) -> None:
    """Makes the files of a folder those of another. A file that is the same already keeps its
    time, by which cargo knows what it has to build."""
    names = {path.relative_to(wanted) for path in wanted.rglob("*") if path.is_file()}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder) not in names:
            path.unlink()
    for name in names:
        place, new = folder / name, (wanted / name).read_bytes()
        if not place.is_file() or place.read_bytes() != new:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(new)


@contextlib.contextmanager
def exchanged(place: Path, kept: Path) -> Iterator[None]:
    """Inside, the file at `place` is `kept`, whose new contents are kept at the end. Two builds
    have one file name, and cargo knows by its time whether it has to build."""
    others = kept.with_name("others.so")
    if place.exists():
        place.rename(others)
    if kept.exists():
        kept.rename(place)
    try:
        yield
    finally:
        if place.exists():
            place.rename(kept)
        if others.exists():
            others.rename(place)


def test_the_source_distribution_builds_alone(sandbox: Sandbox, dist: Path, tmp_path: Path) -> None:
    """By pip, unoptimised; the compiled crates of others are those that are there already."""
    # always the same folder, or each run would leave crates of its own in target
    folder = TARGET / "sdist"
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    # with new times: the archive has that of the last commit
    run("tar", "-xmzf", only(dist, f"takings-{VERSION}.tar.gz"), "-C", unpacked)
    bring_up_to_date(folder / "sources", unpacked)
    build = ["--no-build-isolation", "--no-deps", "--no-index"]
    # Cargo tells two workspaces in one target folder apart by their profiles alone. Without one of
    # its own, this copy of the core would pass for the core that other tests build.
    own_profile = "profile.dev.package.takings.debug=1"
    build += [f"--config-settings=build-args=--profile dev --config {own_profile}"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", *build]
    with exchanged(TARGET / "debug/deps/lib_takings.so", folder / "lib_takings.so"):
        run(
            *(*pip, "--wheel-dir", tmp_path, folder / f"sources/takings-{VERSION}"),
            within=900,
            PATH=f"{TOOLS}:{ENVIRONMENT['PATH']}",
            CARGO_TARGET_DIR=str(TARGET),
        )
    with zipfile.ZipFile(only(tmp_path, "*.whl")) as archive:
        archive.extractall(tmp_path / "built")
    # none of what is installed here in its path
    code = f"import runpy, sys; sys.path.insert(0, {str(tmp_path / 'built')!r})"
    code += "; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    captures(sandbox, sys.executable, "-I", "-S", "-c", code)
