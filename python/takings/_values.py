"""`dataclass`, `field`, `Literal` and `overload`, as far as this package needs them.

Those of the standard library take longer to load than all of takings. What these make is a
dataclass all the same: `dataclasses.fields`, `replace` and `asdict`, `copy`, `pickle`, `match` and
a dataclass derived from one find what they look for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MISSING: Any = object()


class Literal:
    """For programs that ask for the meaning of an annotation."""

    def __class_getitem__(cls, words: Any) -> Any:
        import typing

        return typing.Literal[words]


def overload(function: Any) -> Any:
    return function


class _Field:
    """The facts of a field beside its name and type."""

    def __init__(self, default: Any, repr: bool, compare: bool) -> None:
        self.default = default
        self.repr = repr
        self.compare = compare


def field(*, default: Any = _MISSING, repr: bool = True, compare: bool = True) -> Any:
    return _Field(default, repr, compare)


class _Value:
    """The behaviour of all of them: they are frozen and have slots."""

    __slots__ = ()
    if TYPE_CHECKING:
        _fields: dict[str, _Field]

    def __repr__(self) -> str:
        said = [f"{name}={getattr(self, name)!r}" for name, of in self._fields.items() if of.repr]
        return f"{type(self).__qualname__}({', '.join(said)})"

    def _compared(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name, of in self._fields.items() if of.compare])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _refuse(self, verb: str, name: str) -> None:
        # a class derived from it may have attributes of its own
        if "_fields" in type(self).__dict__ or name in self._fields:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot {verb} field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse("assign to", name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse("delete", name)
        super().__delattr__(name)

    # of a dataclass derived from it, with its fields
    def __getstate__(self) -> list[Any]:
        return [getattr(self, name) for name in _dataclass_fields(self)]

    def __setstate__(self, state: list[Any]) -> None:
        for name, value in zip(_dataclass_fields(self), state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:
        from dataclasses import replace

        return replace(self, **changes)


def _dataclass_fields(value: Any) -> dict[str, Any]:
    fields: dict[str, Any] = value.__dataclass_fields__
    return fields


class _Kept:
    """The records that `dataclasses` keeps in a class, made when they are first asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner: Any = owner
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        def field(of: _Field) -> Any:
            default = dataclasses.MISSING if of.default is _MISSING else of.default
            return dataclasses.field(default=default, repr=of.repr, compare=of.compare)

        types = self._owner.__annotations__
        fields = [(name, types[name], field(of)) for name, of in self._owner._fields.items()]
        twin = dataclasses.make_dataclass(self._owner.__name__, fields, frozen=True)
        kept = getattr(twin, self._name)
        setattr(self._owner, self._name, kept)
        return kept


def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type]:
    """There is one sort."""
    assert frozen
    assert slots
    return _dataclass


def _dataclass(written: type) -> type:
    body = {
        name: value
        for name, value in written.__dict__.items()
        if name not in ("__dict__", "__weakref__")
    }
    fields: dict[str, _Field] = {}
    for name in body["__annotations__"]:
        said = body.pop(name, _MISSING)
        fields[name] = said if isinstance(said, _Field) else _Field(said, True, True)
    body["_fields"] = fields
    body["__slots__"] = body["__match_args__"] = tuple(fields)
    body["__dataclass_fields__"], body["__dataclass_params__"] = _Kept(), _Kept()
    body["__init__"] = _init(written, fields)
    return type(written.__name__, (_Value,), body)


def _init(written: type, fields: dict[str, _Field]) -> Any:
    """Written out, as the standard library does it too: nothing else is as fast when called."""
    known: dict[str, Any] = {"set_": object.__setattr__}
    arguments, lines = "", ""
    for name, of in fields.items():
        arguments += f", {name}"
        if of.default is not _MISSING:
            known[f"default_{name}"] = of.default
            arguments += f"=default_{name}"
        lines += f"\n set_(self, {name!r}, {name})"
    exec(f"def __init__(self{arguments}):{lines}", known)
    init = known["__init__"]
    init.__module__ = written.__module__
    init.__qualname__ = f"{written.__qualname__}.__init__"
    init.__annotations__ = {**written.__annotations__, "return": None}
    return init
