"""Frozen values that become attrs classes when they are first constructed.

Defining an attrs class costs half a millisecond and importing attrs as much as all of
``wire``; the schema has hundreds of classes, of which a program constructs a handful, and
decoded instances never need it at all. So a class says only its annotations, and the rest
is done on first use. To type checkers it is dataclass-like from the start.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeVar, cast

from typing_extensions import dataclass_transform

from .masks import is_secret, masked

if TYPE_CHECKING:
    from attrs import Attribute

V = TypeVar("V", bound="Value")
_defining = threading.RLock()


class _ValueType(type):
    """Turns a class into an attrs class when somebody first looks for that."""

    def __getattr__(cls, name: str) -> object:
        if name == "__attrs_attrs__" and not cls.__dict__.get("_is_base"):
            _define(cls)
            return cls.__dict__[name]
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")


def _define(cls: type) -> None:
    import attrs

    with _defining:
        if "__attrs_attrs__" not in cls.__dict__:
            # No slots: attrs then completes the class in place instead of making another.
            attrs.frozen(kw_only=True, eq=False, repr=False, slots=False)(cls)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value(metaclass=_ValueType):
    """Base of values: frozen, compared and hashed by content, ``None`` for what is absent."""

    _is_base: ClassVar[bool] = True

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[tuple[Attribute[object], ...]]
    else:

        def __init_subclass__(cls) -> None:
            super().__init_subclass__()
            for base in cls.__mro__[1:]:
                if issubclass(base, Value) and not base.__dict__.get("_is_base"):
                    raise TypeError(f"{base.__name__} is final: {cls.__name__} cannot extend it")

        def __init__(self, *args: object, **members: object) -> None:
            if type(self).__dict__.get("_is_base"):
                raise TypeError(f"{type(self).__name__} is abstract")
            _define(type(self))
            self.__init__(*args, **members)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _content(self) == _content(other)

    def __hash__(self) -> int:
        return hash((type(self), _hashable(_content(self))))

    def __repr__(self) -> str:
        members = ", ".join(
            f"{name}={'***' if is_secret(name, of=type(self).__name__) else masked(repr(value))}"
            for name, value in self.__dict__.items()
            if value is not None and not name.startswith("_")
        )
        return f"{type(self).__name__}({members})"


def evolved(value: V, **changes: object) -> V:
    """Return a copy in which some members are others. Raises TypeError for what is no member."""
    members = {field.name for field in value.__attrs_attrs__}
    if strays := sorted(changes.keys() - members):
        raise TypeError(f"{type(value).__name__} has no member {strays[0]!r}")
    copy = object.__new__(type(value))
    vars(copy).update(vars(value), **changes)
    return copy


def _content(value: Value) -> dict[str, object]:
    """The members that are there, with lists and tuples made comparable."""
    return {
        name: _plain(member)
        for name, member in value.__dict__.items()
        if member is not None and (name == "_extra" or not name.startswith("_"))
    }


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, cast("Sequence[object]", value)))
    return value


def _hashable(value: object) -> object:
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return frozenset((k, _hashable(v)) for k, v in members.items() if v is not None)
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, cast("Sequence[object]", value)))
    return value
