"""The base classes of wire values: what a command, an event and any other value has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    ClassVar,
    Generic,
    Self,
    TypeAlias,
    TypeVar,
    final,
)

from .value import Value

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
E_co = TypeVar("E_co", bound="Event", covariant=True)

if TYPE_CHECKING:
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


class Struct(Value):
    """Base of every wire value.

    ``None`` stands for an absent member. Members that this package does not know, because a newer
    QEMU sent them, are in ``unknown_members``, as decoded JSON under their names on the wire. They
    can also be given, and are then sent as they are.
    """

    _is_base: ClassVar[bool] = True
    _has_unknown_members: ClassVar[bool] = True
    _wire_names: ClassVar[Mapping[str, str]] = {}
    _tags: ClassVar[tuple[str, ...]] = ()
    _rest: ClassVar[str] = ""

    if TYPE_CHECKING:
        unknown_members: JsonObject = {}
    else:

        @property
        def unknown_members(self) -> JsonObject:
            """Members that this package does not know, as decoded JSON."""
            return self.__dict__.get("_extra", {})


class Command(Struct, Generic[R_co]):
    """Base of the QMP commands; the parameter is the type of the reply."""

    _is_base: ClassVar[bool] = True
    _name: ClassVar[str]
    _boxed: ClassVar[bool] = False


class UnstableCommand(Command[R_co]):
    """Base of the commands that QEMU may change or remove without notice."""

    _is_base: ClassVar[bool] = True


class Event(Struct):
    """Base of the QMP events.

    Each class with members has ``where``, which selects events by their members.
    """

    _is_base: ClassVar[bool] = True
    _name: ClassVar[str]

    @classmethod
    def _select(cls, **members: JsonValue) -> EventSelector[Self]:
        wanted = {
            cls._wire_names.get(name) or name.rstrip("_").replace("_", "-"): value
            for name, value in members.items()
            if value is not None
        }
        return EventSelector(kind=cls, members=wanted)

    @property
    def message(self) -> JsonObject:
        """The event as QEMU sent it: ``event``, ``data``, ``timestamp``. Empty if none did."""
        sent: JsonObject = self.__dict__.get("_message", {})
        return sent

    @property
    def timestamp(self) -> float:
        """When QEMU emitted the event: seconds since the epoch, 0.0 if it did not say."""
        match self.message.get("timestamp"):
            case {"seconds": int(seconds), "microseconds": int(micro)}:
                return seconds + micro / 1_000_000
            case _:
                return 0.0


@final
class EventSelector(Value, Generic[E_co]):
    """Selects the events of one class whose members have these values, by their names on the wire.

    Made by ``where`` of an event class: ``JobStatusChange.where(id="job0")``.
    """

    kind: type[E_co]
    members: Mapping[str, JsonValue]


class Unknown(Struct):
    """A branch of a union that no snapshot has: from a newer QEMU, kept as it came."""

    tag: str | None
    members: JsonObject


class UnknownEvent(Event):
    """An event that no snapshot has: from a newer QEMU, kept as it came."""

    name: str
    data: JsonObject
