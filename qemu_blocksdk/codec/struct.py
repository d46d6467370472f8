"""The base classes of wire values.

A wire class is an attrs class, but one that becomes so when the first instance is
constructed: defining an attrs class costs half a millisecond and the block schema has
hundreds, of which a program uses a handful. Decoded instances never need it at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    ClassVar,
    Generic,
    NoReturn,
    TypeAlias,
    TypeVar,
    cast,
    final,
)

from typing_extensions import dataclass_transform

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

if TYPE_CHECKING:
    from attrs import Attribute

    JsonValue: TypeAlias = (
        bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
    )
else:
    JsonValue = object
JsonObject: TypeAlias = Mapping[str, JsonValue]

Unstable = Annotated[T, "unstable"]
"""A member that QEMU may change or remove without notice."""
Deprecated = Annotated[T, "deprecated"]
"""A member that QEMU is going to remove."""


@final
class Null:
    """The type of :data:`NULL`, JSON's null, where QAPI gives it a meaning of its own."""

    _instance: ClassVar[Null | None] = None

    def __new__(cls) -> Null:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "NULL"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "NULL"


NULL = Null()
"""JSON null (``backing=NULL``: no backing file), as opposed to ``None``: not given."""


class _StructType(type):
    """Turns a wire class into an attrs class when somebody first looks for that."""

    def __getattr__(cls, name: str) -> object:
        if name == "__attrs_attrs__" and cast("type", cls) not in _BASES:
            _define(cls)
            return cls.__dict__[name]
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")


def _define(cls: type) -> None:
    # Imported here: attrs costs as much as all of wire/, and a reader of replies needs none.
    import attrs

    # No slots: attrs then completes the class in place instead of making another one.
    attrs.frozen(kw_only=True, eq=False, repr=False, slots=False)(cls)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Struct(metaclass=_StructType):
    """Base of every wire value: frozen, compared by content, members as attributes.

    ``None`` stands for an absent member. A member that this package does not know (sent
    by a newer QEMU) is in :attr:`unknown_members`.
    """

    _wire_names: ClassVar[Mapping[str, str]] = {}
    _tags: ClassVar[tuple[str, ...]] = ()
    _rest: ClassVar[str] = ""

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[tuple[Attribute[object], ...]]
    else:

        def __init__(self, *args: object, **members: object) -> None:
            _define(type(self))
            self.__init__(*args, **members)

    @property
    def unknown_members(self) -> JsonObject:
        """Members that came with the value and have no attribute, as decoded JSON."""
        extra: JsonObject = self.__dict__.get("_extra", {})
        return extra

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _content(self) == _content(other)

    def __hash__(self) -> int:
        return hash((type(self), _hashable(self.__dict__)))

    def __repr__(self) -> str:
        members = ", ".join(
            f"{name}={'***' if is_secret(name, of=type(self).__name__) else repr(value)}"
            for name, value in self.__dict__.items()
            if value is not None and not name.startswith("_")
        )
        return f"{type(self).__name__}({members})"


class Command(Struct, Generic[R_co]):
    """Base of the QMP commands; the parameter is the type of the reply."""

    _name: ClassVar[str]
    _boxed: ClassVar[bool] = False


class UnstableCommand(Command[R_co]):
    """Base of the commands that QEMU may change or remove without notice."""


class Event(Struct):
    """Base of the QMP events."""

    _name: ClassVar[str]

    @property
    def timestamp(self) -> float:
        """When QEMU emitted the event: seconds since the epoch, 0.0 if it did not say."""
        seconds: float = self.__dict__.get("_timestamp", 0.0)
        return seconds


_BASES: frozenset[type] = frozenset((Struct, Command, UnstableCommand, Event))


class Unknown(Struct):
    """A branch of a union that no snapshot has: from a newer QEMU, kept as it came."""

    tag: str | None
    members: JsonObject


class UnknownEvent(Event):
    """An event that no snapshot has: from a newer QEMU, kept as it came."""

    name: str
    data: JsonObject


def is_secret(member: str, *, of: str) -> bool:
    """Tell whether a member's value must never be shown; ``of`` is its object's kind."""
    return member in ("password", "cookie") or (member == "data" and "secret" in of.lower())


def _content(value: Struct) -> dict[str, object]:
    """The members that are there, with lists and tuples made comparable."""
    return {
        name: _plain(member)
        for name, member in value.__dict__.items()
        if member is not None and name != "_timestamp"
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
