"""Immutable values whose attrs metadata is built when it is first read.

``wire`` has hundreds of classes, and attrs needs half a millisecond for each. So a class states
its annotations only, and :class:`Value` implements what attrs would generate. Libraries recognise
an attrs class by ``__attrs_attrs__``. On the first read of that, attrs makes a second class of the
same members, and its metadata is returned; the value class itself never changes. An instance
holds the members that it was given, and the class holds ``None`` for the others, so a value with
two of twenty members costs two.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, get_annotations
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NoReturn,
    TypeVar,
    cast,
    dataclass_transform,
)

from qemu_blocksdk.errors import MalformedReply
from qemu_blocksdk.redaction import is_secret, redact
from qemu_blocksdk.sealed import seal, sealed

if TYPE_CHECKING:
    from typing import ParamSpec, Protocol, Self

    from attrs import Attribute

    P = ParamSpec("P")
    V_co = TypeVar("V_co", covariant=True)

    class _Replaceable(Protocol[P, V_co]):
        def __replace__(self, *args: P.args, **kwargs: P.kwargs) -> V_co: ...

    class _Evolve:
        def __get__(self, value: _Replaceable[P, V_co], owner: object) -> Callable[P, V_co]: ...

    # mypy takes no other `type[...]` for hashable, as the argument of a cached function is.
    class _ValueType(type): ...

else:
    _ValueType = type

T = TypeVar("T")
V = TypeVar("V", bound="Value")
_UNKNOWN = "unknown_members"
_defining = threading.Lock()


class _Shape(NamedTuple):
    """The members of a class; ``defaults`` are those that are not None."""

    names: frozenset[str]
    required: frozenset[str]
    defaults: Mapping[str, object]
    order: Sequence[str]


class _ClassAttribute(Generic[T]):
    """An attribute that is computed from a class when it is read. Abstract classes lack it."""

    def __init__(self, compute: Callable[[type[Value]], T], *, of_instances: bool) -> None:
        self._compute = compute
        self._of_instances = of_instances
        self._name = ""

    def __set_name__(self, owner: type[Value], name: str) -> None:
        self._name = name

    def __get__(self, value: Value | None, owner: type[Value]) -> T:
        if owner.__dict__.get("_is_base") or (value is not None and not self._of_instances):
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self._name!r}")
        return self._compute(owner)


def shape(cls: type[Value]) -> _Shape:
    """Return the members of a class. Raises TypeError for an abstract one."""
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


def _signature(cls: type[Value]) -> Signature:
    parameters = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=cls.__dict__.get(name, Parameter.empty),
            annotation=hint,
        )
        for name, hint in raw_hints(cls).items()
    ]
    if cls._has_unknown_members:
        parameters.append(
            Parameter(_UNKNOWN, Parameter.KEYWORD_ONLY, default={}, annotation="JsonObject")
        )
    return Signature(parameters)


def _metadata(cls: type[Value]) -> type:
    """Return the class that attrs makes of the members of ``cls``, for what attrs notes in it."""
    found: type | None = cls.__dict__.get("_attrs_class")
    if found is None:
        import attrs

        def shows(name: str) -> Callable[[object], str]:
            return lambda value: "***" if is_secret(name, of=cls.__name__) else _shown(value)

        members = {
            name: attrs.field(
                default=cls.__dict__.get(name, attrs.NOTHING),
                repr=shows(name),
                type=cast("type", hint),
            )
            for name, hint in raw_hints(cls).items()
        }
        if cls._has_unknown_members:
            hint = cast("type", "JsonObject")
            members[_UNKNOWN] = attrs.field(factory=dict[str, object], repr=_shown, type=hint)
        place = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        with _defining:
            found = cls.__dict__.get("_attrs_class")
            if found is None:
                decorate = attrs.frozen(
                    these=members, kw_only=True, init=False, eq=False, repr=False, slots=False
                )
                found = cls._attrs_class = decorate(type(cls.__name__, (), place))
    return found


def _attrs_fields(cls: type[Value]) -> tuple[Attribute[object], ...]:
    return cast("tuple[Attribute[object], ...]", _metadata(cls).__dict__["__attrs_attrs__"])


def _attrs_props(cls: type[Value]) -> object:
    """Return what ``attrs.inspect`` shows, which attrs has since 25.4."""
    if (found := _metadata(cls).__dict__.get("__attrs_props__")) is None:
        raise AttributeError("__attrs_props__")
    return cast("object", found)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value(metaclass=_ValueType):
    """Base of values: immutable, compared and hashed by content, ``None`` for what is absent.

    Each class is an attrs class: ``attrs.fields``, ``attrs.asdict`` and ``attrs.evolve`` work.
    """

    __match_args__: ClassVar[tuple[()]] = ()
    _is_base: ClassVar[bool] = True
    _has_unknown_members: ClassVar[bool] = False
    _shape: ClassVar[_Shape | None] = None
    _attrs_class: ClassVar[type | None] = None

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[tuple[Attribute[object], ...]]

        # For Python 3.13 and later, type checkers derive `__replace__` from the members, which
        # types `evolve` for each class. Below that, it takes anything, except in the classes that
        # declare it themselves; only the parameters of `Any` can be overridden by any others.
        if sys.version_info >= (3, 13):
            evolve: ClassVar[_Evolve]
        else:

            def evolve(self, *args: Any, **changes: Any) -> Self:  # noqa: ANN401
                """Return a copy with other members; ``None`` removes an optional one.

                Raises TypeError for a name that is not a member.
                """
                ...

    else:
        __attrs_attrs__ = _ClassAttribute(_attrs_fields, of_instances=True)
        __attrs_props__ = _ClassAttribute(_attrs_props, of_instances=True)
        __signature__ = _ClassAttribute(_signature, of_instances=False)

        def __init_subclass__(cls) -> None:
            super().__init_subclass__()
            for base in cls.__mro__[1:]:
                if issubclass(base, Value) and not base.__dict__.get("_is_base"):
                    raise TypeError(f"{base.__name__} is final: {cls.__name__} cannot extend it")
            public = {name: member for name, member in vars(cls).items() if name[0] != "_"}
            seal(cls, public)

        def __init__(self, **members: object) -> None:
            cls = type(self)
            names, required, defaults, _ = cls._shape or shape(cls)
            if not names.issuperset(members) or not required <= members.keys():
                _check(cls, members, required)
            if defaults:
                self.__dict__.update(defaults)
            self.__dict__.update(members)

        @sealed
        def evolve(self, /, **changes: object) -> Value:
            """Return a copy with other members; ``None`` removes an optional one.

            Members that only a newer QEMU knows stay. Raises TypeError for a name that is not a
            member.
            """
            cls = type(self)
            names = shape(cls).names
            if not names.issuperset(changes):
                _check(cls, changes, frozenset())
            kept = vars(self)
            if cls.__init__ is not Value.__init__:
                return cls(**{name: kept[name] for name in names & kept.keys()} | changes)
            copy = object.__new__(cls)  # not cls.__new__: a deprecated class warns there
            for name, member in kept.items():
                if name in names or not hasattr(cls, name):  # but not what is computed once
                    vars(copy)[name] = member
            vars(copy).update(changes)
            return copy

        __replace__ = evolve

        def __getattr__(self, name: str) -> NoReturn:
            # Called for what the class lacks: a required member that a reply did not have.
            if name[0] != "_" and name in shape(type(self)).required:
                path = f"{type(self).__name__}.{name}"
                raise MalformedReply(path, expected="a value", found="nothing")
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        del value  # which may be a secret, and a traceback shows it
        raise _frozen(self, f"cannot set {name!r}; evolve() returns a changed copy")

    def __delattr__(self, name: str) -> NoReturn:
        raise _frozen(self, f"cannot delete {name!r}; evolve() returns a changed copy")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _content(self) == _content(other)

    def __hash__(self) -> int:
        return hash((type(self), _hashable(_content(self))))

    def __repr__(self) -> str:
        cls = type(self)
        members = [
            f"{name}={'***' if is_secret(name, of=cls.__name__) else _shown(value)}"
            for name in shape(cls).order
            if (value := vars(self).get(name, getattr(cls, name, None))) is not None
        ]
        if unknown := vars(self).get("_extra"):
            members.append(f"{_UNKNOWN}={_shown(unknown)}")
        return f"{cls.__name__}({', '.join(members)})"


@sealed
def evolve(value: V, /, **changes: object) -> V:
    """Do as :meth:`Value.evolve`, where the names of the members are not known to type checkers."""
    return value.evolve(**changes)


class _WrongMembers(TypeError):
    """The caller's mistake, not a fault of ours."""


def _check(cls: type[Value], members: dict[str, object], required: frozenset[str]) -> None:
    """Put ``unknown_members`` where an instance holds them. Raises TypeError for wrong members."""
    names = shape(cls).names | ({_UNKNOWN} if cls._has_unknown_members else set[str]())
    if strays := sorted(members.keys() - names):
        from difflib import get_close_matches

        near = get_close_matches(strays[0], sorted(names), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        members.clear()  # they may be secrets, and a traceback shows them
        raise _WrongMembers(f"{cls.__name__} has no member {strays[0]!r}{hint}")
    if missing := sorted(required - members.keys()):
        members.clear()
        raise _WrongMembers(f"{cls.__name__} needs {', '.join(missing)}")
    if _UNKNOWN in members:
        unknown = cast("Mapping[str, object] | None", members.pop(_UNKNOWN))
        members["_extra"] = dict(unknown or {})


def _frozen(value: Value, problem: str) -> AttributeError:
    from attrs.exceptions import FrozenInstanceError

    error = FrozenInstanceError()
    BaseException.__init__(error, f"{type(value).__name__} is frozen: {problem}")  # for str()
    return error


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
        if member is not None and (name[0] != "_" or (name == "_extra" and member))
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
