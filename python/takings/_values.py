"""`dataclass`, `field`, `Literal` and `overload`, as far as this package needs them.

Those of the standard library take longer to load than all of takings. The classes made by this
module are dataclasses all the same: `dataclasses.fields`, `replace` and `asdict`, `copy`, `pickle`,
`match` and a dataclass derived from one find the attributes they look for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Literal:
    """Stands in annotations, for programs that ask for their meaning."""

    def __class_getitem__(cls, words: Any) -> Any:
        import typing

        return typing.Literal[words]


def overload(function: Any) -> Any:
    return function


class field(dict[str, "Any"]):
    """The keywords of `dataclasses.field`."""


class _Value:
    """The behaviour that all values share: they are frozen and have slots."""

    __slots__ = ()
    if TYPE_CHECKING:
        _fields: dict[str, field]
        __dataclass_fields__: dict[str, Any]

    def __repr__(self) -> str:
        shown = [name for name, of in self._fields.items() if of.get("repr", True)]
        values = ", ".join([f"{name}={getattr(self, name)!r}" for name in shown])
        return f"{type(self).__qualname__}({values})"

    def _compared(self) -> tuple[Any, ...]:
        compared = [name for name, of in self._fields.items() if of.get("compare", True)]
        return tuple([getattr(self, name) for name in compared])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def __setattr__(self, name: str, *value: Any) -> None:
        # a derived class may have other attributes
        if "_fields" in type(self).__dict__ or name in self._fields:
            from dataclasses import FrozenInstanceError

            verb = "assign to" if value else "delete"
            raise FrozenInstanceError(f"cannot {verb} field {name!r}")
        (super().__setattr__ if value else super().__delattr__)(name, *value)

    __delattr__ = __setattr__

    # the fields of a derived dataclass are among them
    def __getstate__(self) -> list[Any]:
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def __setstate__(self, state: list[Any]) -> None:
        for name, value in zip(self.__dataclass_fields__, state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:
        from dataclasses import replace

        return replace(self, **changes)


class _Kept:
    """The records that `dataclasses` keeps in a class, made at their first use."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner: Any = owner
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        fields = [
            (name, self._owner.__annotations__[name], dataclasses.field(**of))
            for name, of in self._owner._fields.items()
        ]
        twin = dataclasses.make_dataclass(self._owner.__name__, fields, frozen=True)
        kept = getattr(twin, self._name)
        setattr(self._owner, self._name, kept)
        return kept


def dataclass(**_frozen_with_slots: bool) -> Any:
    return _dataclass


def _dataclass(written: type) -> type:
    body = {**written.__dict__}
    del body["__dict__"], body["__weakref__"]
    fields: dict[str, field] = {}
    for name in body["__annotations__"]:
        said = body.pop(name, field())
        fields[name] = said if isinstance(said, field) else field(default=said)
    body["_fields"] = fields
    body["__slots__"] = body["__match_args__"] = tuple(fields)
    body["__dataclass_fields__"], body["__dataclass_params__"] = _Kept(), _Kept()
    body["__init__"] = _init(written, fields)
    return type(written.__name__, (_Value,), body)


def _init(written: type, fields: dict[str, field]) -> Any:
    """An `__init__` from written-out text, as the standard library makes it: the fastest form."""
    known: dict[str, Any] = {"__name__": written.__module__, "set_": object.__setattr__}
    types = written.__annotations__
    arguments = ", ".join([f"{name}: {types[name]!r}" for name in fields])
    lines = "".join([f"\n set_(self, {name!r}, {name})" for name in fields])
    exec(f"def __init__(self, {arguments}) -> None:{lines}", known)
    init = known["__init__"]
    init.__qualname__ = f"{written.__qualname__}.__init__"
    init.__defaults__ = tuple([of["default"] for of in fields.values() if "default" in of])
    return init
