"""Plain Lua, each of its versions: the module from the rock that luarocks builds, and as built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from batch import captures_each_once, needs_an_account, tells_a_refusal
from support import ENVIRONMENT, ROOT, TARGET, Program, Sandbox, built

CAPTURE = ROOT / "examples/hosts/lua/capture.lua"
ROCKSPEC = ROOT / "lua/takings-0.1.0-1.rockspec"
INTERPRETERS = {
    "5.1": "lua5.1",
    "5.2": "lua5.2",
    "5.3": "lua5.3",
    "5.4": "lua5.4",
    "jit": "luajit",
}
# The environment of a user who has installed the module alone.
ALONE = {"LUA_INIT": "", "LUA_PATH": ";;"}


def captures(sandbox: Sandbox, version: str, modules: Path) -> None:
    environment = {**ALONE, "LUA_CPATH": f"{modules}/?.so"}
    command: list[str | Path] = [INTERPRETERS[version], CAPTURE]
    captures_each_once(sandbox, *command, **environment)
    tells_a_refusal(sandbox, *command, **environment)
    needs_an_account(sandbox, *command, **environment)


@pytest.mark.parametrize("version", ["5.2", "5.3", "jit"])
def test_each_line_is_captured_once(sandbox: Sandbox, version: str) -> None:
    captures(sandbox, version, built(TARGET / "lua" / version / "takings.so").parent)


@pytest.mark.parametrize("version", ["5.1", "5.4"])
def test_the_rock_captures(sandbox: Sandbox, version: str, tmp_path: Path) -> None:
    """Unoptimised: another profile builds all crates again. `make dist` has `--release`."""
    text = ROCKSPEC.read_text()
    assert text.count("[[sh lua/build.sh --release ") == 1
    # luarocks names a compiler of its own, for which cargo would build all crates again
    compiler = f"export CC='{ENVIRONMENT['CC']}'" if "CC" in ENVIRONMENT else "unset CC"
    rockspec = tmp_path / ROCKSPEC.name
    rockspec.write_text(
        text.replace("[[sh lua/build.sh --release ", f"[[{compiler}; sh lua/build.sh ")
    )
    tree = tmp_path / "tree"
    headers = tmp_path / "include"
    headers.mkdir()
    # luarocks wants to see the headers of its Lua, which the module does not need
    (headers / "lua.h").write_text(f"#define LUA_VERSION_NUM {version.replace('.', '0')}\n")
    luarocks: list[str | Path] = ["luarocks", "--lua-version", version, "--tree", tree]
    make = [*luarocks, "make", rockspec, f"LUA_INCDIR={headers}"]
    # luarocks must not read the configuration of the user who runs the tests
    environment = {"HOME": str(tmp_path), "CARGO_HOME": cargo_home(), "RUSTUP_HOME": rustup_home()}
    with Program(*make, environment=environment, cwd=ROOT) as program:
        program.end(900)
    with Program(*luarocks, "show", "takings", environment=environment) as program:
        assert re.search(r"takings 0\.1\.0-1", program.end())
    captures(sandbox, version, tree / "lib/lua" / version)


def cargo_home() -> str:
    return ENVIRONMENT.get("CARGO_HOME", str(Path.home() / ".cargo"))


def rustup_home() -> str:
    return ENVIRONMENT.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
