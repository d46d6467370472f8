"""What is generated: the merged, named model, as values between `merge` and `render`.

Here live data classes only. A `mask` has a bit for each snapshot that has the thing, the
lowest for the first of `Merged.snapshots`. An `annotation` is Python text, made of
builtins, names that `codec` exports, and the names of other types in here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .model import Features


@dataclass(frozen=True)
class Field:
    """A member, as an attribute of a class."""

    wire: str
    python: str
    annotation: str
    optional: bool
    features: Features
    mask: int

    @property
    def hint(self) -> str:
        """The annotation of the attribute, with what QEMU says of the member."""
        hint = f"{self.annotation} | None" if self.optional else self.annotation
        for feature in ("unstable", "deprecated"):
            if feature in self.features:
                hint = f"{feature.capitalize()}[{hint}]"
        return hint


@dataclass(frozen=True)
class EnumType:
    """A `Literal` alias; `features` are those of its values."""

    name: str
    values: Mapping[str, int]
    features: Mapping[str, Features]
    mask: int


@dataclass(frozen=True)
class StructType:
    """A plain object."""

    name: str
    fields: tuple[Field, ...]
    features: Features
    mask: int


@dataclass(frozen=True)
class Branch:
    """One class of a union: the discriminators' values, outermost first, and all members."""

    name: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[Field, ...]
    features: Features
    mask: int


@dataclass(frozen=True)
class UnionType:
    """An alias for the branches; open to unknown ones where QEMU sends it."""

    name: str
    branches: tuple[Branch, ...]
    is_output: bool
    mask: int


@dataclass(frozen=True)
class AlternateType:
    """An alias for types that their JSON type tells apart."""

    name: str
    annotations: tuple[str, ...]
    mask: int


@dataclass(frozen=True)
class CommandType:
    """A command: its own fields, or `boxed`, the union that is its arguments."""

    name: str
    wire: str
    fields: tuple[Field, ...]
    boxed: str | None
    returns: str
    rest: str | None
    replaced_by: str | None
    features: Features
    mask: int


@dataclass(frozen=True)
class EventType:
    """An event and its data."""

    name: str
    wire: str
    fields: tuple[Field, ...]
    features: Features
    mask: int


NamedType = EnumType | StructType | UnionType | AlternateType


@dataclass(frozen=True)
class Module:
    """One generated domain."""

    name: str
    doc: str
    types: tuple[NamedType, ...]
    commands: tuple[CommandType, ...]
    events: tuple[EventType, ...]

    def exported(self) -> Iterator[str]:
        """Every name that the module defines."""
        for each in self.types:
            yield each.name
            if isinstance(each, UnionType):
                yield from (branch.name for branch in each.branches)
        yield from (command.name for command in self.commands)
        yield from (event.name for event in self.events)


@dataclass(frozen=True)
class Merged:
    """Everything that is generated."""

    snapshots: tuple[str, ...]
    modules: tuple[Module, ...]

    @property
    def everywhere(self) -> int:
        """The mask of what all snapshots have."""
        return (1 << len(self.snapshots)) - 1
