"""The behaviour that the classes of values share, whose fields are generated.

The classes are frozen dataclasses with slots: `dataclasses.fields`, `replace` and `asdict`, `copy`,
`pickle`, `match` and a dataclass derived from one find the attributes they look for. `dataclasses`
itself takes longer to load than all of takings, and so does `typing`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
else:
    # any value is one, for programs that ask what an annotation means
    Any = object

set_ = object.__setattr__


class Literal:
    """Stands in annotations, for programs that ask for their meaning."""

    def __class_getitem__(cls, words: Any) -> Any:
        import typing

        return typing.Literal[words]


def overload(function: Any) -> Any:
    return function


class Value:
    """A frozen value with slots."""

    __slots__ = ()
    if TYPE_CHECKING:
        # those of `dataclasses.field`, for each field
        _keywords: dict[str, dict[str, Any]]

    def _values(self, keyword: str) -> dict[str, Any]:
        """The fields that take part in it."""
        fields = self._keywords.items()
        return {name: getattr(self, name) for name, of in fields if of.get(keyword, True)}

    def __repr__(self) -> str:
        values = [f"{name}={value!r}" for name, value in self._values("repr").items()]
        return f"{type(self).__qualname__}({', '.join(values)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values("compare") == other._values("compare")

    def __hash__(self) -> int:
        return hash(tuple(self._values("compare").values()))

    def __setattr__(self, name: str, *value: Any) -> None:
        # a derived class may have other attributes
        if "_keywords" in type(self).__dict__ or name in self._keywords:
            from dataclasses import FrozenInstanceError

            verb = "assign to" if value else "delete"
            raise FrozenInstanceError(f"cannot {verb} field {name!r}")
        (super().__setattr__ if value else super().__delattr__)(name, *value)

    __delattr__ = __setattr__

    # the fields of a derived dataclass are among them
    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(self.__dataclass_fields__, state, strict=True):
            set_(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:
        from dataclasses import replace

        return replace(self, **changes)


class Late(Value):
    """A reply or a document in it. The core keeps the values; each is made when it is asked for."""

    __slots__ = ("_late",)

    @classmethod
    def _made_of(cls, late: Any) -> Any:
        made = cls.__new__(cls)
        set_(made, "_late", late)
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            # it is called for a slot that is still empty, too
            if name not in self._keywords:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = self._late(name)
            set_(self, name, value)
            return value


class Kept:
    """The records that `dataclasses` keeps in a class, made at their first use."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner: Any = owner
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        fields = [
            (name, self._owner.__annotations__[name], dataclasses.field(**of))
            for name, of in self._owner._keywords.items()
        ]
        twin = dataclasses.make_dataclass(self._owner.__name__, fields, frozen=True)
        kept = getattr(twin, self._name)
        setattr(self._owner, self._name, kept)
        return kept
