"""PHP, through its FFI."""

from __future__ import annotations

from pathlib import Path

from batch import captures_each_once, needs_an_account, tells_a_refusal
from support import ROOT, Sandbox

FOLDER = ROOT / "examples/hosts/php"


def test_each_line_is_captured_once(sandbox: Sandbox, prefix: Path) -> None:
    command = ["php", FOLDER / "capture.php", prefix]
    captures_each_once(sandbox, *command)
    tells_a_refusal(sandbox, *command)
    needs_an_account(sandbox, *command)
