"""Tests of the rules by which scripts/dist.py refuses packages, and of those of `make library`."""

from __future__ import annotations

import gzip
import os
import sys
import zipfile
from pathlib import Path

import dist as dist_script
import pytest
from dist import VERSION, limit_of, tarball, telling, too_large
from support import ROOT, Program, run


def test_a_library_or_wheel_that_is_too_large_is_refused(tmp_path: Path) -> None:
    lib = tmp_path / "takings-c" / "lib"
    lib.mkdir(parents=True)
    (lib / f"libtakings.so.{VERSION}").write_bytes(bytes(5_000_001))
    (lib / "takings.so").write_bytes(bytes(5_000_001))
    made = tmp_path / "dist"
    made.mkdir()
    tarball(lib.parent, made / "takings-c.tar.gz", 1)
    for name, size in [("takings.whl", 7_000_001), ("takings_cli-1.whl", 5_000_001)]:
        with zipfile.ZipFile(made / name, "w") as archive:
            archive.writestr("takings/_takings.abi3.so", bytes(size))
    wheel, program = ((made / name).stat().st_size for name in ("takings.whl", "takings_cli-1.whl"))
    assert too_large(made) == [
        f"takings-c.tar.gz: takings-c/lib/libtakings.so.{VERSION} has 5,000,001 bytes; "
        "it may have 5,000,000",
        "takings-c.tar.gz: takings-c/lib/takings.so has 5,000,001 bytes; it may have 5,000,000",
        f"takings.whl has {wheel:,} bytes; it may have 3,500,000",
        "takings.whl: takings/_takings.abi3.so has 7,000,001 bytes; it may have 7,000,000",
        f"takings_cli-1.whl has {program:,} bytes; it may have 5,000,000",
    ]


def test_what_is_released_is_small_enough(dist: Path, tmp_path: Path) -> None:
    # of what `make test` has only the C library is optimised
    released = "*" if "TAKINGS_DIST" in os.environ else "takings-c-*.tar.gz"
    for path in dist.glob(released):
        (tmp_path / path.name).symlink_to(path)
    assert too_large(tmp_path) == []
    # The shared library is in the archive, and there is a limit for it.
    [c] = tmp_path.glob("takings-c-*")
    assert f"libtakings.so.{VERSION}" in run("tar", "-tzf", c)
    assert limit_of(f"takings-c.tar.gz: takings-c/lib/libtakings.so.{VERSION}") == 5_000_000


@pytest.mark.parametrize("name", ["notes.txt", "takings.whl", "takings.tar.gz"])
def test_what_tells_where_it_was_built_is_refused(tmp_path: Path, name: str) -> None:
    place = "/srv/somebody/takings"
    (tmp_path / "made").mkdir()
    path, inner = tmp_path / "made" / name, tmp_path / "takings"
    inner.mkdir()
    (inner / "module.so").write_text(f"panicked at {place}/core/src/lib.rs")
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inner / "module.so", "takings/module.so")
    elif path.suffix == ".gz":
        tarball(inner, path, 9)
        assert place.encode() not in path.read_bytes()
        assert place.encode() in gzip.decompress(path.read_bytes())
    else:
        path.write_bytes((inner / "module.so").read_bytes())
    [complaint] = telling(path.parent, place, "/nowhere")
    assert complaint.endswith(f" names {place}")


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("somebody's")
    with Program(sys.executable, ROOT / "scripts/dist.py", "--as-built", tmp_path) as program:
        _, complaints = program.process.communicate(timeout=60)
    assert program.process.returncode == 2
    assert f"{tmp_path} is there; a new folder is wanted" in complaints
    assert (tmp_path / "mine").read_text() == "somebody's"


def test_what_is_not_committed_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist_script, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["dist.py"])
    # Unpacked sources have no git to compare with.
    assert dist_script.uncommitted() == ""
    run("git", "init", "--quiet", tmp_path)
    (tmp_path / "notes.rs").write_text("// not thought through yet\n")
    with pytest.raises(SystemExit, match=r"(?s)packs what is committed.*notes\.rs"):
        dist_script.main()
