"""Tests of scripts/setup.sh on a made-up machine: a folder of programs and its own apt-get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The commands that the script itself calls, and the toolchains.
SHELL = [
    "bash",
    "cat",
    "cksum",
    "chmod",
    "cut",
    "dirname",
    "env",
    "flock",
    "grep",
    "head",
    "id",
    "mkdir",
    "printf",
    "rm",
    "sed",
    "sort",
    "tr",
    "true",
    "uname",
    "cc",
    "c++",
    "cargo",
    "rustc",
    "cargo-fmt",
    "cargo-clippy",
    "rustfmt",
    "clippy-driver",
]
TESTS = [
    "lua5.1",
    "lua5.2",
    "lua5.3",
    "lua5.4",
    "luajit",
    "luacheck",
    "valgrind",
    "curl",
    "curl-config",
    "pkg-config",
    "cmake",
    "php",
    "cobc",
    "nginx",
    "luarocks",
    "sqlite3",
    "pg_config",
    "mariadbd",
    "mysql",
    "pgbouncer",
    "tc",
    "strace",
]

# The package gnucobol3 conflicts with one that is installed; every other one can be installed.
APT = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    "-s install"*gnucobol3) echo "Remv gnucobol4 [4.0]"; echo "Inst gnucobol3" ;;
    *install*--no-remove*gnucobol3*) exit 100 ;;
    *install*nginx*) printf "#!/bin/sh\\n" >"$FOLDER/nginx"; chmod +x "$FOLDER/nginx" ;;
esac
"""
# Runs what would run under the lock, without the real system's folders.
FLOCK = """#!/bin/sh
shift 3
script=$(printf '%s' "$1" | sed "s,/usr/sbin,$FOLDER,g; s,/etc/,$FOLDER/,g")
shift
exec bash -c "$script" "$@"
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.calls.touch()
        for name in SHELL:
            if found := shutil.which(name):
                self.program(name, f'#!/bin/sh\nexec "{found}" "$@"\n')
        self.program("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        self.program("id", "#!/bin/sh\necho 0\n")
        self.program("flock", FLOCK)
        self.program("apt-get", APT)
        self.program("apt-cache", "#!/bin/sh\n")

    def program(self, name: str, text: str = "#!/bin/sh\n") -> None:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)

    def lua(self, name: str, version: str) -> None:
        self.program(name, f"#!/bin/sh\necho '{version}'\n")

    def set_up(self, part: str) -> subprocess.CompletedProcess[str]:
        home = {
            name: os.environ[name]
            for name in ("HOME", "CARGO_HOME", "RUSTUP_HOME")
            if name in os.environ
        }
        # The script adds /usr/sbin to the path, which has programs of the real machine.
        script = (
            (ROOT / "scripts" / "setup.sh").read_text().replace("export PATH=$PATH:/usr/sbin", "")
        )
        script = script.replace('cd "$(dirname "$0")/.."', f'cd "{ROOT}"')
        # The made-up machine ends before pip would be called.
        before, _, _ = script.partition("# --- Python packages, in a virtual environment")
        return subprocess.run(
            [
                shutil.which("bash") or "bash",
                "-c",
                before + "echo all is there\n",
                "setup.sh",
                part,
            ],
            env=home
            | {"PATH": str(self.folder), "CALLS": str(self.calls), "FOLDER": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def installs(self) -> list[str]:
        lines = self.calls.read_text().splitlines()
        return [line for line in lines if " install " in line and not line.startswith("-s ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("part", ["rust", "wheel"])
def test_a_single_surface_installs_no_package(machine: Machine, part: str) -> None:
    done = machine.set_up(part)
    assert done.returncode == 0, done.stderr
    assert machine.installs() == []


def test_libraries_need_no_python(machine: Machine) -> None:
    (machine.folder / "python3").unlink()
    (machine.folder / "c++").unlink()
    assert machine.set_up("rust").returncode == 0
    done = machine.set_up("wheel")
    assert done.returncode == 1
    assert "Python 3.10" in done.stderr


@pytest.mark.parametrize(
    ("name", "version"),
    [("lua5.1", "Lua 5.1"), ("luajit", "jit"), ("lua", "Lua 5.4"), ("lua5.4", "Lua 5.4")],
)
def test_any_lua_serves_the_demo(machine: Machine, name: str, version: str) -> None:
    machine.lua(name, version)
    assert machine.set_up("demo").returncode == 0
    assert machine.installs() == []


def test_the_demo_installs_a_lua_alone(machine: Machine) -> None:
    # The module cannot be built for this one.
    machine.lua("lua", "Lua 5.5")
    machine.set_up("demo")
    assert machine.installs()
    assert all(line.endswith(" lua5.4") for line in machine.installs())


def test_a_conflict_is_named_and_keeps_no_other_package_away(machine: Machine) -> None:
    for name in TESTS:
        if name not in ("cobc", "nginx"):
            machine.program(name)
    done = machine.set_up("tests")
    assert done.returncode == 1
    assert "gnucobol3, which Debian would install only if it removed gnucobol4: " in done.stderr
    assert "type: docker run" in done.stderr
    assert "do not need gnucobol3" in done.stderr
    assert (machine.folder / "nginx").exists(), machine.installs()
    assert "nginx, which" not in done.stderr


def test_every_installation_refuses_to_remove(machine: Machine) -> None:
    for name in TESTS:
        if name != "luajit":
            machine.program(name)
    machine.set_up("tests")
    assert machine.installs()
    assert all("--no-remove" in line for line in machine.installs())


def test_a_luajit_of_any_package_serves(machine: Machine) -> None:
    for name in TESTS:
        machine.program(name)
    machine.set_up("tests")
    assert not any("luajit" in line for line in machine.installs())


def test_an_unknown_part(machine: Machine) -> None:
    done = machine.set_up("nginx")
    assert done.returncode == 2
    assert "must be rust, wheel, demo or tests" in done.stderr
