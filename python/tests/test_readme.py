"""The snippets of the package's README, run as they stand against the sandbox."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import ROOT, Sandbox

README = (ROOT / "python" / "README.md").read_text(encoding="utf-8")
# the one for pytest is run by pytest
SNIPPETS = [
    snippet
    for snippet in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    if "def test_" not in snippet
]


def test_all_are_found() -> None:
    assert len(SNIPPETS) == 3


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet(
    sandbox: Sandbox, snippet: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    order_id = sandbox.order()
    for name in ("KLARNA_API_KEY", "KLARNA_REGION", "KLARNA_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KLARNA_USERNAME", "sandbox")
    monkeypatch.setenv("KLARNA_PASSWORD", "sandbox")
    monkeypatch.setenv("KLARNA_BASE_URL", sandbox.url)
    exec(compile(snippet, "README.md", "exec"), {"order_id": order_id})
    [entry] = sandbox.ledger(order_id)
    assert capsys.readouterr().out == f"{entry['capture_id']}\n"
