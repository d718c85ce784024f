"""A panic in the core comes back as `internal` in C, Python and Lua, and the process goes on.

The libraries here are built for this test alone, with `--cfg takings_fault`, into target/fault:
in them, and in no other build, two order ids panic.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import (
    ADAPTERS,
    CREDENTIALS,
    ENVIRONMENT,
    ROOT,
    TARGET,
    Program,
    Sandbox,
    a_capture,
    run,
)

FAULT = TARGET / "fault"
BUILT = FAULT / "debug"
BEFORE, AFTER = "panic-before-sending", "panic-after-sending"


@pytest.fixture(scope="module")
def surfaces(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[list[str | Path], dict[str, str]]]:
    """How to start each adapter with the libraries that panic."""
    flags = ENVIRONMENT.get("RUSTFLAGS", "")
    subprocess.run(
        [
            *("cargo", "build", "--quiet", "--locked", "--target-dir", FAULT),
            *("-p", "takings-c", "-p", "takings-python", "-p", "takings-lua"),
        ],
        cwd=ROOT,
        env={
            **ENVIRONMENT,
            "RUSTFLAGS": f"{flags} --cfg takings_fault".strip(),
            # As maturin does: without linking libpython, which many machines lack.
            "PYO3_BUILD_EXTENSION_MODULE": "1",
        },
        check=True,
        timeout=1800,
    )
    folder = tmp_path_factory.mktemp("fault")
    (folder / "libtakings.so.1").symlink_to(BUILT / "libtakings.so")
    shutil.copytree(ROOT / "python/takings", folder / "takings")
    (folder / "takings/_takings.abi3.so").symlink_to(BUILT / "lib_takings.so")
    # The module's default is Lua 5.4.
    (folder / "takings.so").symlink_to(BUILT / "libtakings_lua.so")
    run(
        *shlex.split(os.environ.get("CC") or "cc"),
        *("-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"),
        *(ADAPTERS / "adapter.c", "-o", folder / "adapter-c"),
        *(f"-L{BUILT}", "-ltakings", f"-Wl,-rpath,{folder}"),
    )
    return {
        "c": ([folder / "adapter-c"], {}),
        "python": ([sys.executable, ADAPTERS / "adapter.py"], {"PYTHONPATH": str(folder)}),
        "lua": (
            ["lua5.4", ADAPTERS / "adapter.lua"],
            {"LUA_CPATH": f"{folder}/?.so"},
        ),
    }


@pytest.mark.parametrize("surface", ["c", "python", "lua"])
def test_a_panic_is_an_internal_error(
    surface: str,
    surfaces: dict[str, tuple[list[str | Path], dict[str, str]]],
) -> None:
    command, environment = surfaces[surface]
    with Sandbox() as sandbox:
        for order_id in (BEFORE, AFTER):
            wanted = {"order_id": order_id, "order_amount": 10}
            sandbox.control("/orders", wanted)
        config = {**CREDENTIALS, "base_url": sandbox.url}
        with Program(*command, environment=environment) as program:

            def ask(order_id: str, key: str, config: dict[str, Any] | None = None) -> Any:
                request = {"captured_amount": 1}
                program.say(a_capture(surface, config, order_id, request, key))
                return json.loads(program.hear())

            error = ask(BEFORE, "key-1", config)["error"]
            assert (error["kind"], error["attempts"]) == ("internal", 0)
            assert (error["order_id"], error["idempotency_key"]) == (BEFORE, "key-1")
            assert sandbox.requests(BEFORE) == []

            error = ask(AFTER, "key-2")["error"]
            assert (error["kind"], error["attempts"]) == ("internal", 1)
            assert (error["order_id"], error["idempotency_key"]) == (AFTER, "key-2")
            # The error says that it may have been captured, as it was.
            assert len(sandbox.ledger(AFTER)) == 1
            assert "treat the outcome as unknown" in error["message"]
            assert "the same idempotency key" in error["message"]
            for secret in ("c2FuZGJveDpzYW5kYm94", "a fault that was asked for"):
                assert secret not in json.dumps(error)

            # the client still works
            order_id = sandbox.order()
            assert ask(order_id, "key-3")["capture"]["order_id"] == order_id
            assert len(sandbox.ledger(order_id)) == 1
            program.end(within=10)
