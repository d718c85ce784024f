"""Where no thread can be started, a call that needs one ends as `not_sent`, and others capture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import CREDENTIALS, HERE, TARGET, Program, Sandbox, a_capture, preloaded


@pytest.fixture(scope="module")
def no_threads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return preloaded(HERE / "c/no_threads.c", tmp_path_factory.mktemp("threads"))


@pytest.mark.parametrize("surface", ["rust", "c", "python", "lua"])
def test_no_thread_can_be_started(
    surface: str,
    programs: dict[str, list[str | Path]],
    no_threads: dict[str, str],
    authority: tuple[Sandbox, Path],
    sandbox: Sandbox,
) -> None:
    tls, ca_file = authority
    port = tls.url.rpartition(":")[2]
    environment = {**no_threads, "LUA_CPATH": f"{TARGET}/lua/5.4/?.so"}
    with Program(*programs[surface], environment=environment) as program:

        def ask(base_url: str, order_id: str) -> Any:
            config = {**CREDENTIALS, "base_url": base_url, "max_attempts": 2, "backoff_ms": 1}
            if base_url.startswith("https"):
                config["ca_file"] = str(ca_file)
            program.say(a_capture(surface, config, order_id, {"captured_amount": 1}))
            return json.loads(program.hear())

        # Only the look-up of a name takes a thread.
        order_id = tls.order()
        error = ask(f"https://localhost:{port}", order_id)["error"]
        assert (error["kind"], error["attempts"]) == ("not_sent", 2), error
        assert "no thread could be started" in error["message"]
        assert tls.requests(order_id) == []
        for base_url, asked in ((f"https://127.0.0.1:{port}", tls), (sandbox.url, sandbox)):
            order_id = asked.order()
            assert ask(base_url, order_id)["capture"]["order_id"] == order_id
            assert len(asked.ledger(order_id)) == 1
        program.end(within=10)
