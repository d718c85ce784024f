"""Tests of takings inside the processes that shops run: see README.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox
