"""The HTTP clients of a program's own, as types."""

from __future__ import annotations

from typing import Any, Protocol


class Transport(Protocol):
    """An `httpx.Client` or a `requests.Session`."""

    def send(self, request: Any, /) -> Any: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """An `httpx.AsyncClient`."""

    def send(self, request: Any, /) -> Any: ...
    async def aclose(self) -> None: ...
