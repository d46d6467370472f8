"""What `query-qmp-schema` answered, as typed entities.

Here lives the reading of an introspection reply and nothing else: what the entities are
called in Python is `naming`'s business, whether arguments fit them is `check`'s.

The one mechanism: a reply is indexed by name at once and turned into entities one by
one, on first use, because a running program asks for a handful of the 1,100 that a QEMU
has. The classes are plain ones with slots; this module is imported at run time, where
an attrs class costs too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, cast

from qemu_blocksdk.errors import UsageError

ServerKind = Literal["system", "storage-daemon"]
"""The two programs that speak QMP; the name of a snapshot begins with one of them."""

Features = frozenset[str]
_NONE: Final[Features] = frozenset()


class Builtin:
    """A JSON type: `string`, `int`, `number`, `boolean`, `null` or `value` (anything)."""

    __slots__ = ("json_type", "name")

    def __init__(self, name: str, json_type: str) -> None:
        self.name: Final = name
        self.json_type: Final = json_type


class Enum:
    """A set of strings; `features` holds the values that are deprecated or unstable."""

    __slots__ = ("features", "name", "values")

    def __init__(self, name: str, values: tuple[str, ...], features: dict[str, Features]) -> None:
        self.name: Final = name
        self.values: Final = values
        self.features: Final[Mapping[str, Features]] = features


class Array:
    """A list of one element type."""

    __slots__ = ("element", "name")

    def __init__(self, name: str, element: str) -> None:
        self.name: Final = name
        self.element: Final = element


class Member:
    """A member of an object."""

    __slots__ = ("features", "name", "optional", "type")

    def __init__(self, name: str, type_: str, optional: bool, features: Features) -> None:
        self.name: Final = name
        self.type: Final = type_
        self.optional: Final = optional
        self.features: Final = features


class Object:
    """An object; a union when `tag` names the member that selects one of `variants`."""

    __slots__ = ("features", "members", "name", "tag", "variants")

    def __init__(
        self,
        name: str,
        members: tuple[Member, ...],
        tag: str | None,
        variants: dict[str, str],
        features: Features,
    ) -> None:
        self.name: Final = name
        self.members: Final = members
        self.tag: Final = tag
        self.variants: Final[Mapping[str, str]] = variants
        self.features: Final = features


class Alternate:
    """One of several types, told apart by their JSON type."""

    __slots__ = ("members", "name")

    def __init__(self, name: str, members: tuple[str, ...]) -> None:
        self.name: Final = name
        self.members: Final = members


class Command:
    """A command: the types of its arguments and its reply."""

    __slots__ = ("allow_oob", "arg", "features", "name", "ret")

    def __init__(self, name: str, arg: str, ret: str, allow_oob: bool, features: Features) -> None:
        self.name: Final = name
        self.arg: Final = arg
        self.ret: Final = ret
        self.allow_oob: Final = allow_oob
        self.features: Final = features


class Event:
    """An event: the type of its data."""

    __slots__ = ("arg", "features", "name")

    def __init__(self, name: str, arg: str, features: Features) -> None:
        self.name: Final = name
        self.arg: Final = arg
        self.features: Final = features


Type = Builtin | Enum | Array | Object | Alternate
Entity = Type | Command | Event
Raw = Mapping[str, object]


class Model:
    """The introspection of one QEMU binary."""

    __slots__ = ("_entities", "_raw")

    def __init__(self, entries: Iterable[object]) -> None:
        raw: dict[str, Raw] = {}
        for entry in entries:
            if not isinstance(entry, dict):
                raise UsageError("an introspection reply is a list of objects")
            item = cast(Raw, entry)
            raw[_text(item, "name")] = item
        self._raw: Final = raw
        self._entities: Final[dict[str, Entity]] = {}

    def __iter__(self) -> Iterator[str]:
        """Every name, in QEMU's order."""
        return iter(self._raw)

    def entity(self, name: str) -> Entity | None:
        """The entity of this name, None where this QEMU has none."""
        found = self._entities.get(name)
        if found is None and (raw := self._raw.get(name)) is not None:
            found = self._entities[name] = _entity(name, raw)
        return found

    def type(self, name: str) -> Type:
        """The type that another entity refers to as `name`."""
        found = self.entity(name)
        if found is None or isinstance(found, Command | Event):
            raise UsageError(f"introspection refers to {name!r}, which is not a type in it")
        return found

    def command(self, name: str) -> Command | None:
        """The command of this name, None where this QEMU has none."""
        found = self.entity(name)
        return found if isinstance(found, Command) else None

    def event(self, name: str) -> Event | None:
        """The event of this name, None where this QEMU has none."""
        found = self.entity(name)
        return found if isinstance(found, Event) else None

    def has_command(self, name: str) -> bool:
        """Whether this QEMU has the command."""
        return self.command(name) is not None

    def has_event(self, name: str) -> bool:
        """Whether this QEMU has the event."""
        return self.event(name) is not None

    def has(self, path: str) -> bool:
        """Whether this QEMU has a command, or what is below it: ``COMMAND.MEMBER.MEMBER``.

        The members are those of its arguments and of its reply, in every branch of a union;
        a branch, and a value of an enum, is named like a member (``blockdev-add.qcow2.file``,
        ``blockdev-mirror.copy-mode.write-blocking``).
        """
        name, *parts = path.split(".")
        command = self.command(name)
        if command is None:
            return False
        found = {command.arg, command.ret}
        for part in parts:
            found = {below for above in found for below in self._below(above, part)}
        return bool(found)

    def _below(self, name: str, part: str) -> Iterator[str]:
        """The types that a part of a path leads to; a value of an enum leads to the enum."""
        found = self.type(name)
        match found:
            case Array(element=element):
                yield from self._below(element, part)
            case Alternate(members=members):
                for member in members:
                    yield from self._below(member, part)
            case Enum(values=values) if part in values:
                yield name
            case Object():
                yield from (member.type for member in found.members if member.name == part)
                for case, branch in found.variants.items():
                    if case == part:
                        yield branch
                    yield from self._below(branch, part)
            case _:
                pass

    def supports_oob(self, name: str) -> bool:
        """Whether the command may be executed out of band."""
        command = self.command(name)
        return command is not None and command.allow_oob


def _text(raw: Raw, key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise UsageError(f"an entry of an introspection reply lacks {key!r}")
    return value


def _entries(raw: Raw, key: str) -> list[Raw]:
    value = raw.get(key)
    if not isinstance(value, list):
        raise UsageError(f"introspection of {_text(raw, 'name')!r} lacks the list {key!r}")
    return cast(list[Raw], value)


def _strings(raw: Raw, key: str) -> list[str]:
    value = raw.get(key)
    if not isinstance(value, list) or not all(
        isinstance(v, str) for v in cast(list[object], value)
    ):
        raise UsageError(f"introspection of {_text(raw, 'name')!r}: {key!r} is no list of strings")
    return cast(list[str], value)


def _features(raw: Raw) -> Features:
    return frozenset(_strings(raw, "features")) if raw.get("features") else _NONE


def _member(raw: Raw) -> Member:
    return Member(_text(raw, "name"), _text(raw, "type"), "default" in raw, _features(raw))


def _enum(name: str, raw: Raw) -> Enum:
    # QEMU before 6.2: values are plain strings, so there is no "members" to hold features.
    if "members" not in raw:
        return Enum(name, tuple(_strings(raw, "values")), {})
    members = _entries(raw, "members")
    marked = {_text(m, "name"): found for m in members if (found := _features(m))}
    return Enum(name, tuple(_text(m, "name") for m in members), marked)


def _object(name: str, raw: Raw) -> Object:
    tag = _text(raw, "tag") if "tag" in raw else None
    variants = _entries(raw, "variants") if tag is not None else []
    return Object(
        name,
        tuple(map(_member, _entries(raw, "members"))),
        tag,
        {_text(v, "case"): _text(v, "type") for v in variants},
        _features(raw),
    )


def _entity(name: str, raw: Raw) -> Entity:
    match _text(raw, "meta-type"):
        case "builtin":
            return Builtin(name, _text(raw, "json-type"))
        case "enum":
            return _enum(name, raw)
        case "array":
            return Array(name, _text(raw, "element-type"))
        case "object":
            return _object(name, raw)
        case "alternate":
            return Alternate(name, tuple(_text(m, "type") for m in _entries(raw, "members")))
        case "command":
            oob = raw.get("allow-oob") is True
            arg, ret = _text(raw, "arg-type"), _text(raw, "ret-type")
            return Command(name, arg, ret, oob, _features(raw))
        case "event":
            return Event(name, _text(raw, "arg-type"), _features(raw))
        case other:
            raise UsageError(f"introspection entry {name!r} has the unknown kind {other!r}")
