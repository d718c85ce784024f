"""Values that fight back: whatever is given, an error of the family comes, or an interrupt."""

from __future__ import annotations

import asyncio
import decimal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import takings
from conftest import Sandbox


class Failing:
    """Every question to it fails."""

    error: type[BaseException] = RuntimeError

    def _fail(self, *_: Any) -> Any:
        raise self.error("its own code")

    __str__ = __repr__ = __eq__ = __index__ = __iter__ = __fspath__ = __int__ = _fail
    __float__ = __len__ = __bool__ = __getitem__ = __hash__ = __format__ = _fail

    def __getattr__(self, name: str) -> Any:
        raise self.error(name)


class Interrupting(Failing):
    error = KeyboardInterrupt


class Exhausting(Failing):
    error = MemoryError


class Text(str):
    __slots__ = ()

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError

    __str__ = __eq__ = __hash__ = __len__ = __iter__ = _fail  # pyright: ignore


class Whole(int):
    def _fail(self, *_: Any) -> Any:
        raise RuntimeError

    __int__ = __index__ = __eq__ = __lt__ = __float__ = __repr__ = _fail
    __hash__ = int.__hash__


class Real(float):
    def __floor__(self) -> int:
        raise RuntimeError


class Pairs(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError

    __iter__ = __len__ = keys = items


class Fields(Mapping[Any, Any]):
    """A mapping whose `items` are these; those that raise do so in its own code."""

    def __init__(self, items: Any) -> None:
        self._given = items

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1

    def items(self) -> Any:
        if isinstance(self._given, BaseException):
            raise self._given
        return self._given


class Place:
    def __init__(self, path: Any) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        return self._path


class Time:
    def __init__(self, seconds: Any) -> None:
        self._seconds = seconds

    def utcoffset(self) -> int:
        return 0

    def timestamp(self) -> Any:
        if isinstance(self._seconds, BaseException):
            raise self._seconds
        return self._seconds


class Amount(decimal.Decimal):
    def adjusted(self) -> Any:
        raise RuntimeError


class Odd(decimal.Decimal):
    def adjusted(self) -> Any:
        return "x"


class Nameless(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__"):
            raise RuntimeError(name)
        return type.__getattribute__(cls, name)


class Anonymous(metaclass=Nameless):
    pass


def broken() -> Iterator[Any]:
    yield {"name": "x"}
    raise RuntimeError


def deep() -> Any:
    found: Any = []
    for _ in range(100_000):
        found = [found]
    return found


def wrong(function: Any) -> Any:
    """A function that takes anything, for the type checkers."""
    return function


def partial_field(name: str) -> Callable[[takings.Client, Any], Any]:
    def call(client: takings.Client, value: Any) -> Any:
        return wrong(client.prepare)("o", **{"captured_amount": 1, name: value})

    return call


def partial_setting(class_: Any, name: str) -> Callable[[takings.Client, Any], Any]:
    def call(client: takings.Client, value: Any) -> Any:
        usual = {"username": "u", "password": "p", "base_url": client.base_url}
        return class_(**{**usual, name: value})

    return call


def outcome(client: takings.Client, value: Any) -> Any:
    asked = takings.AsyncClient("u", "p", base_url=client.base_url)
    return asyncio.run(asked.outcome(value))


ITSELF: list[Any] = []
ITSELF.append(ITSELF)
VALUES: dict[str, Callable[[], Any]] = {
    "failing": Failing,
    "None": lambda: None,
    "str": lambda: Text("x"),
    "int": lambda: Whole(5),
    "float": lambda: Real(1.5),
    "dict": Pairs,
    "items that fail": lambda: Fields(RuntimeError()),
    "no items": lambda: Fields(None),
    "items that are no pairs": lambda: Fields([1, (2,)]),
    "a path that is none": lambda: Place(5),
    "a path of half a pair": lambda: Place("\ud800"),
    "a time that fails": lambda: Time(RuntimeError()),
    "a time that is none": lambda: Time("x"),
    "a Decimal that fails": lambda: Amount("1"),
    "a Decimal that is odd": lambda: Odd("1"),
    "without a name": Anonymous,
    "generator": broken,
    "itself": lambda: ITSELF,
    "deep": deep,
    "huge": lambda: 10**400,
    "far below": lambda: -(10**400),
    "half a pair": lambda: "\ud800",
    "bytes": lambda: b"x",
    "NaN": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "set": lambda: {1},
    "keys that are no texts": lambda: {1: 2, None: 3},
    "NUL": lambda: "a\0b",
    "long": lambda: "x" * 1_000_000,
}
CALLS: dict[str, Callable[[takings.Client, Any], Any]] = {
    "order id": lambda client, value: client.capture(value, captured_amount=1),
    "request": lambda client, value: client.capture("o", value),
    "line": lambda client, value: wrong(client.capture)("o", {"order_lines": [value]}),
    "field of a line": lambda client, value: wrong(client.capture)(
        "o", {"captured_amount": 1, "order_lines": [{"name": value}]}
    ),
    "key": lambda client, value: client.prepare("o", captured_amount=1, idempotency_key=value),
    "operation": lambda client, value: client.call(value, "o"),
    "look": lambda client, value: client.reconcile("o", reference=value, captured_amount=value),
    "minor": lambda _, value: takings.minor(value, "EUR"),
    "currency": lambda _, value: takings.minor("1", value),
    "key's order": lambda _, value: takings.idempotency_key(value, "n"),
    "key's name": lambda _, value: takings.idempotency_key("o", value),
    "key's operation": lambda _, value: takings.idempotency_key("o", "n", value),
    "outcome": lambda client, value: outcome(client, value),
    "concurrency": lambda client, value: takings.AsyncClient(
        "u", "p", base_url=client.base_url, max_concurrency=value
    ),
    **{
        name: partial_field(name)
        for name in ("captured_amount", "reference", "order_lines", "shipping_info")
    },
    **{name: partial_field(name) for name in ("first_use", "first_used")},
    **{
        f"{class_.__name__} {name}": partial_setting(class_, name)
        for class_ in (takings.Client, takings.AsyncClient)
        for name in (
            *("username", "password", "region", "base_url", "api_key", "timeout", "proxy"),
            *("max_attempts", "ca_file", "check_lines", "reconcile", "transport"),
        )
    },
    "from_env": lambda _, value: takings.Client.from_env(ca_file=value, environment="live"),
}


@pytest.fixture(scope="module")
def quick(sandbox: Sandbox) -> takings.Client:
    return takings.Client("u", "p", base_url=sandbox.url, max_attempts=1)


@pytest.mark.parametrize("call", CALLS)
def test_only_the_family_is_raised(quick: takings.Client, call: str) -> None:
    for name, make in VALUES.items():
        message = ""
        try:
            CALLS[call](quick, make())
        except takings.TakingsError as error:
            message = error.message
        except BaseException as error:
            raise AssertionError(f"{name}: {error!r} comes through") from error
        assert len(message) < 5000, name
        assert message.isprintable(), name


@pytest.mark.parametrize("call", ["captured_amount", "first_used", "request", "Client ca_file"])
@pytest.mark.parametrize("of", [Interrupting, Exhausting])
def test_interrupts_come_through(quick: takings.Client, call: str, of: type[Failing]) -> None:
    given: Any = Fields(of.error("its own code"))
    if call in ("first_used", "Client ca_file"):
        given = of()
    with pytest.raises(of.error):
        CALLS[call](quick, given)


def test_the_cause_is_kept(quick: takings.Client) -> None:
    with pytest.raises(
        takings.InvalidInput, match="whose own code raised a ZeroDivisionError"
    ) as caught:
        wrong(quick.capture)("o", Fields(ZeroDivisionError("mine")))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_exception_that_looks_like_takings_own_is_a_cause_too(quick: takings.Client) -> None:
    mine = ZeroDivisionError("mine")
    mine.idempotency_key = "key"  # type: ignore[attr-defined]  # pyright: ignore
    with pytest.raises(takings.InvalidInput) as caught:
        wrong(quick.capture)("o", Fields(mine))
    assert caught.value.__cause__ is mine


def test_a_keyword_that_nobody_sees() -> None:
    with pytest.raises(takings.InvalidInput, match="is not a field of a call of minor"):
        wrong(takings.minor)("1", "EUR", **{"a\u200b": 1})


def test_an_answer_that_cannot_be_read_can_be_given_again(quick: takings.Client) -> None:
    call = quick.prepare("o", captured_amount=1)
    call.start()
    answered: Any = call.answered
    for status, headers, body in (
        ("x", [], b""),
        (201, 5, b""),
        (201, [(1, 2)], b""),
        (201, [], 5),
    ):
        with pytest.raises(TypeError):
            answered(status, headers, body)
    with pytest.raises(takings.TakingsError) as caught:
        answered(404, [], b"")
    assert caught.value.attempts == 1
