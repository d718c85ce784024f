"""The steps that a `Call` asks of the program that sends it."""

from __future__ import annotations

# dataclasses takes longer to load than the rest of the package
TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from ._values import dataclass, field

__all__ = ["Send", "Wait"]


@dataclass(frozen=True, slots=True)
class Send:
    """Send this once, as it is, and be done within `timeout`; then tell the call how it went.

    No redirect is followed, nothing is sent again, and `authorization` goes to the host of `url`
    and to no other.
    """

    method: str
    """`POST`, `GET` or another method of HTTP."""
    url: str
    """The whole URL: what it names is percent-encoded already."""
    headers: list[tuple[str, str]] = field(repr=False)
    """Names in lower case. `host` and `content-length` are the HTTP client's to add."""
    body: bytes = field(repr=False)
    """JSON, or empty."""
    timeout: float
    """Seconds for everything, from the name look-up to the last byte of the answer."""
    connect_timeout: float
    """Seconds of them that the connection may take to be made."""
    most_answer: int
    """How many bytes of the answer's body are worth reading."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Pause, then tell the call that you `waited`."""

    seconds: float
