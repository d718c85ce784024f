"""The pytest plugin of takings: the fixtures `klarna_sandbox` and `klarna_env`.

pytest imports this in every run, so it is no part of `takings`, and loads that only when a test
asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from takings.testing import KlarnaSandbox

__all__ = ["klarna_env", "klarna_sandbox"]


@pytest.fixture(scope="session")
def _klarna_sandbox() -> Iterator[KlarnaSandbox]:
    from takings.testing import KlarnaSandbox

    with KlarnaSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def klarna_sandbox(_klarna_sandbox: KlarnaSandbox) -> KlarnaSandbox:
    """The stand-in Klarna, empty for each test: orders, faults on demand, a ledger."""
    _klarna_sandbox.reset()
    return _klarna_sandbox


@pytest.fixture
def klarna_env(klarna_sandbox: KlarnaSandbox, monkeypatch: pytest.MonkeyPatch) -> KlarnaSandbox:
    """The same, with the environment set so that `takings.Client.from_env()` calls it."""
    for name in ("KLARNA_API_KEY", "KLARNA_REGION", "KLARNA_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in klarna_sandbox.env.items():
        monkeypatch.setenv(name, value)
    return klarna_sandbox
