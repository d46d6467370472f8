"""Frozen values that are attrs classes when somebody looks for that.

The schema has hundreds of classes; for attrs to define one costs half a millisecond and to be
imported as much as all of ``wire``. So a class says only its annotations. An instance holds the
members that it was given, and what is absent is the class's ``None``: to build a value with
two of twenty members costs two. To type checkers it is dataclass-like, to attrs (``fields``,
``asdict``, ``evolve``) a class of its own, made when it is first asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, get_annotations
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn, TypeVar, cast, dataclass_transform

from qemu_blocksdk.errors import MalformedReply
from qemu_blocksdk.redaction import is_secret, redact
from qemu_blocksdk.sealed import seal, sealed

if TYPE_CHECKING:
    from attrs import Attribute

V = TypeVar("V", bound="Value")
_defining = threading.Lock()


class _Shape(NamedTuple):
    """What the annotations of a class say; ``defaults`` are those that are not None."""

    names: frozenset[str]
    required: frozenset[str]
    defaults: Mapping[str, object]
    order: Sequence[str]


class _ValueType(type):
    """Tells of a class what is looked for only now and then."""

    def __getattr__(cls, name: str) -> object:
        if name == "__attrs_attrs__" and not cls.__dict__.get("_is_base"):
            _define(cls)
            return cls.__dict__[name]
        if name == "__signature__":
            return _signature(cls)
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")


def shape(cls: type[Value]) -> _Shape:
    """Return what the annotations of a class say. Raises TypeError for one that is abstract."""
    found = cls._shape
    if found is None:
        if cls.__dict__.get("_is_base"):
            raise TypeError(f"{cls.__name__} is abstract")
        names = tuple(raw_hints(cls))
        given = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        defaults = {name: value for name, value in given.items() if value is not None}
        found = _Shape(frozenset(names), frozenset(names) - given.keys(), defaults, names)
        cls._shape = found
    return found


def raw_hints(cls: type) -> dict[str, str]:
    """Return the annotations of a class's members, in their order."""
    return {
        name: hint
        for name, hint in get_annotations(cls).items()
        if name[0] != "_" and "ClassVar" not in str(hint)
    }


def _signature(cls: type) -> Signature:
    parameters = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=cls.__dict__.get(name, Parameter.empty),
            annotation=hint,
        )
        for name, hint in raw_hints(cls).items()
    ]
    return Signature(parameters)


def _define(cls: type) -> None:
    import attrs

    with _defining:
        if "__attrs_attrs__" not in cls.__dict__:
            defaults = {name: cls.__dict__[name] for name in raw_hints(cls) if name in cls.__dict__}
            # No slots: attrs then completes the class in place instead of making another. It
            # takes the defaults away.
            attrs.frozen(
                kw_only=True,
                init=False,
                eq=False,
                repr=False,
                slots=False,
                field_transformer=_shown_fields,
            )(cls)
            for name, default in defaults.items():
                setattr(cls, name, default)


def _shown_fields(cls: type, fields: list[Attribute[object]]) -> list[Attribute[object]]:
    """Have what shows fields by itself, as rich does, show them as our repr does."""

    def shows(name: str) -> Callable[[object], str]:
        return lambda value: "***" if is_secret(name, of=cls.__name__) else _shown(value)

    return [field.evolve(repr=shows(field.name)) for field in fields]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value(metaclass=_ValueType):
    """Base of values: frozen, compared and hashed by content, ``None`` for what is absent."""

    _is_base: ClassVar[bool] = True
    _shape: ClassVar[_Shape | None] = None

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[tuple[Attribute[object], ...]]
    else:

        def __init_subclass__(cls) -> None:
            super().__init_subclass__()
            for base in cls.__mro__[1:]:
                if issubclass(base, Value) and not base.__dict__.get("_is_base"):
                    raise TypeError(f"{base.__name__} is final: {cls.__name__} cannot extend it")
            public = {name: member for name, member in vars(cls).items() if name[0] != "_"}
            seal(cls, public)

        def __init__(self, **members: object) -> None:
            names, required, defaults, _ = type(self)._shape or shape(type(self))
            if not names.issuperset(members) or not required <= members.keys():
                error = _misused(type(self), members)
                members.clear()  # which may be a secret, and a traceback shows it
                raise error
            if defaults:
                self.__dict__.update(defaults)
            self.__dict__.update(members)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            # Only what the class does not have gets here: a member without which it is not made.
            if name[0] != "_" and name in shape(type(self)).required:
                path = f"{type(self).__name__}.{name}"
                raise MalformedReply(path, expected="a value", found="nothing")
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        del value  # which may be a secret, and a traceback shows it
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
            f"{name}={'***' if is_secret(name, of=type(self).__name__) else _shown(value)}"
            for name in shape(type(self)).order
            if (value := vars(self).get(name, getattr(type(self), name, None))) is not None
        )
        return f"{type(self).__name__}({members})"


@sealed
def evolved(value: V, **changes: object) -> V:
    """Return a copy in which some members are others. Raises TypeError for what is no member."""
    cls = type(value)
    if not shape(cls).names.issuperset(changes):
        raise _misused(cls, {**dict.fromkeys(shape(cls).required), **changes})
    copy = object.__new__(cls)
    vars(copy).update(vars(value), **changes)
    return copy


class _WrongMembers(TypeError):
    """The caller's mistake, not a fault of ours."""


def _misused(cls: type[Value], members: Mapping[str, object]) -> TypeError:
    """Return the error that a function would raise."""
    names, required, *_ = shape(cls)
    if strays := sorted(members.keys() - names):
        return _WrongMembers(f"{cls.__name__} has no member {strays[0]!r}")
    missing = ", ".join(sorted(required - members.keys()))
    return _WrongMembers(f"{cls.__name__} needs {missing}")


def _shown(value: object) -> str:
    if type(value) in (list, tuple):
        items = cast("Sequence[object]", value)
        text = ", ".join(map(_shown, items))
        if isinstance(value, list):
            return f"[{text}]"
        return f"({text},)" if len(items) == 1 else f"({text})"
    if isinstance(value, str | Mapping):
        value = redact(cast("str | Mapping[str, object]", value))
    return repr(value)


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
