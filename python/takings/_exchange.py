"""The HTTP clients of a program's own, as types, and their failures."""

from __future__ import annotations

# typing takes longer to load than the rest of the package
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["AsyncTransport", "Transport", "Unsent", "words"]


class Transport(Protocol):
    """An `httpx.Client` or a `requests.Session`."""

    def send(self, request: Any, /) -> Any: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """An `httpx.AsyncClient`."""

    def send(self, request: Any, /) -> Any: ...
    async def aclose(self) -> None: ...


class Unsent(Exception):
    """An attempt raises it where it is certain that nothing of the request has left."""


def words(error: BaseException) -> str:
    """The text of a program's own exception, whose code must not take the outcome with it."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__
