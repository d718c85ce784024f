"""One request over a program's own HTTP client, and how it ends."""

from __future__ import annotations

# typing takes longer to load than the rest of the package
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["Answer", "AsyncTransport", "Lost", "Transport", "Unsent", "words"]

# Status, headers and body of an answer.
Answer = tuple[int, list[tuple[bytes | str, bytes | str]], bytes]


class Transport(Protocol):
    """An `httpx.Client` or a `requests.Session`."""

    def send(self, request: Any, /) -> Any: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """An `httpx.AsyncClient`."""

    def send(self, request: Any, /) -> Any: ...
    async def aclose(self) -> None: ...


class Unsent(Exception):
    """An exchange raises it where it is certain that nothing of the request has left."""


class Lost(Exception):
    """An exchange raises it where the request may have left and no answer came. Any other exception
    comes from elsewhere, such as a signal's handler, and ends the call."""


def words(error: BaseException) -> str:
    """The text of a program's own exception, whose code must not take the outcome with it."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__
