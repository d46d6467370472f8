"""Several schemas, one model: what any snapshot has is there, and says which ones have it.

Here lives the merging of members, values and branches, and the choice of the module for
each type; names come from `naming`, text is `render`'s business.

The one mechanism: an object is taken apart into its leaves (one for a struct, one a branch
for a union, also of unions inside unions), each a row of discriminator values and a
list of members. Leaves of the same row are merged, member by member.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .config import Config, ConfigError, NameClash, Stale
from .merged import (
    AlternateType,
    Branch,
    CommandType,
    EnumType,
    EventType,
    Field,
    Merged,
    Module,
    NamedType,
    StructType,
    UnionType,
)
from .model import Alternate, Array, Builtin, Enum, Features, Member, Model, Object
from .naming import Names, camel_case
from .snapshots import version

BUILTINS: Final[Mapping[str, str]] = {
    "string": "str",
    "int": "int",
    "number": "float",
    "boolean": "bool",
    "null": "Null",
    "value": "JsonValue",
}
# What generated modules use under its own name.
_RESERVED_WORDS: Final = """
    Annotated Any ClassVar Command Deprecated Event JsonValue Literal Null Sequence Struct
    TYPE_CHECKING Unknown UnknownEvent Unstable annotations bool deprecated float int list str
"""
RESERVED: Final = frozenset(_RESERVED_WORDS.split())
# Attributes of the base classes in codec.
ATTRIBUTES: Final = frozenset(("unknown_members", "timestamp"))

Tags = tuple[tuple[str, str], ...]
By = Mapping[str, str]  # snapshot -> masked name


class Leaf(NamedTuple):
    """The members of one object, or of one branch of a union."""

    tags: Tags
    members: tuple[Member, ...]
    features: Features


_NO_LEAF: Final = Leaf((), (), frozenset())


class Seen(NamedTuple):
    """A member in one snapshot."""

    snapshot: str
    member: Member


def python_name(wire: str) -> str:
    """The attribute for a member: `node-name` -> `node_name`, `from` -> `from_`."""
    name = wire.replace("-", "_")
    if keyword.iskeyword(name) or name in ATTRIBUTES or name in RESERVED:
        name += "_"
    if not name.isidentifier() or name.startswith("_"):
        raise ConfigError("a member's name makes no attribute", [wire])
    return name


def merge(models: Mapping[str, Model], config: Config) -> Merged:
    """Merge what roots.toml binds.

    Raises UnnamedType, NameClash or Stale, naming the paths.
    """
    names = Names(models, config)
    names.require_all()
    return _Merge(models, config, names).run()


class _Merge:
    def __init__(self, models: Mapping[str, Model], config: Config, names: Names) -> None:
        self._models = models
        self._config = config
        self._names = names
        # The newest decides where versions differ in what is no question of presence.
        self._newest_first = sorted(models, key=version, reverse=True)
        self._bits = {snapshot: 1 << index for index, snapshot in enumerate(models)}

    def run(self) -> Merged:
        types = self._reached()
        homes = self._homes(types)
        commands = {name: self._command(name) for d in self._config.domains for name in d.commands}
        events = {name: self._event(name) for d in self._config.domains for name in d.events}
        by_class = {command.name: command for command in commands.values()}
        merged: dict[str, NamedType] = {}
        for name, found in types.items():
            if name in by_class and self._is_arguments(by_class[name].wire, found):
                continue  # The command's class serves as the type.
            merged[name] = self._type(name, found)
        self._check_classes([*merged.values(), *commands.values(), *events.values()])
        modules = tuple(
            Module(
                domain.name,
                domain.doc,
                tuple(merged[name] for name in sorted(merged) if homes[name] == domain.name),
                tuple(commands[name] for name in domain.commands),
                tuple(events[name] for name in domain.events),
            )
            for domain in self._config.domains
        )
        return Merged(tuple(self._models), modules)

    def _reached(self) -> dict[str, dict[str, str]]:
        """Every type that wants to be generated: name -> snapshot -> masked name."""
        types: dict[str, dict[str, str]] = {}
        self._domain_of: dict[str, str] = {}
        self._outputs: set[str] = set()
        for position in self._names.positions:
            if position.anonymous:
                continue
            for snapshot, masked in position.types.items():
                if name := self._names.get(snapshot, masked):
                    types.setdefault(name, {})[snapshot] = masked
                    self._domain_of.setdefault(name, position.domain)
                    if position.direction != "arg":
                        self._outputs.add(name)
        return types

    def _homes(self, types: Mapping[str, By]) -> dict[str, str]:
        homes = dict(self._domain_of)
        for domain in self._config.domains:
            if unknown := [name for name in domain.types if name not in types]:
                raise Stale(f"domain {domain.name} claims types that do not exist", unknown)
            homes.update(dict.fromkeys(domain.types, domain.name))
        # An alternate is an alias, evaluated on import: it lives where its members do.
        for name, found in types.items():
            parts = {homes[part] for part in self._parts(found)}
            if len(parts) > 1:
                raise ConfigError(f"the parts of {name} are in several domains", sorted(parts))
            homes[name] = next(iter(parts), homes[name])
        return homes

    def _parts(self, found: By) -> Iterator[str]:
        for snapshot, masked in found.items():
            type_ = self._models[snapshot].type(masked)
            if isinstance(type_, Alternate):
                for member in type_.members:
                    if name := self._names.get(snapshot, member):
                        yield name

    def _is_arguments(self, command: str, found: By) -> bool:
        """Whether a type is the (plain) arguments of a command wherever both are."""
        for snapshot, masked in found.items():
            bound = self._models[snapshot].command(command)
            if bound is None or bound.arg != masked:
                return False
        return True

    def _check_classes(self, things: Sequence[NamedType | CommandType | EventType]) -> None:
        taken: dict[str, str] = {}
        for thing in things:
            claims = [(thing.name, getattr(thing, "wire", thing.name))]
            if isinstance(thing, UnionType):
                claims += [(b.name, f"{thing.name} {dict(b.tags)}") for b in thing.branches]
            for name, claimant in claims:
                if name in RESERVED:
                    raise NameClash(f"the class name {name} has a meaning of its own", [claimant])
                if name in taken:
                    raise NameClash(
                        f"two things claim the class name {name}", [taken[name], claimant]
                    )
                taken[name] = claimant

    # -- commands and events --------------------------------------------------------------

    def _class_name(self, wire: str) -> str:
        return self._config.rename.get(wire) or camel_case(wire)

    def _command(self, wire: str) -> CommandType:
        found = {s: c for s in self._newest_first if (c := self._models[s].command(wire))}
        args = {snapshot: command.arg for snapshot, command in found.items()}
        leaves = {s: self._leaves(s, masked) for s, masked in args.items()}
        is_boxed = any(leaf.tags for several in leaves.values() for leaf in several)
        returns = list(dict.fromkeys(self._returned(s, c.ret) for s, c in found.items()))
        rest = self._config.open.get(wire)
        return CommandType(
            self._class_name(wire),
            wire,
            () if is_boxed else self._fields({s: several[0] for s, several in leaves.items()}),
            self._reference(args) if is_boxed else None,
            " | ".join(returns),
            rest,
            self._config.replaced.get(wire),
            self._features({snapshot: command.features for snapshot, command in found.items()}),
            self._mask(found),
        )

    def _returned(self, snapshot: str, masked: str) -> str:
        if self._names.get(snapshot, masked) is None and isinstance(
            self._models[snapshot].type(masked), Object
        ):
            return "None"
        annotation = self._annotation(snapshot, masked)
        return (
            "list" + annotation.removeprefix("Sequence")
            if annotation.startswith("Sequence[")
            else annotation
        )

    def _event(self, wire: str) -> EventType:
        found = {s: e for s in self._newest_first if (e := self._models[s].event(wire))}
        leaves = {s: self._leaves(s, event.arg)[0] for s, event in found.items()}
        return EventType(
            self._class_name(wire),
            wire,
            self._fields(leaves),
            self._features({snapshot: event.features for snapshot, event in found.items()}),
            self._mask(found),
        )

    # -- types ----------------------------------------------------------------------------

    def _type(self, name: str, found: By) -> NamedType:
        ordered = {s: self._models[s].type(found[s]) for s in self._newest_first if s in found}
        enums = {s: t for s, t in ordered.items() if isinstance(t, Enum)}
        alternates = {s: t for s, t in ordered.items() if isinstance(t, Alternate)}
        objects = {s: t for s, t in ordered.items() if isinstance(t, Object)}
        if len(enums) == len(ordered):
            return self._enum(name, enums)
        if len(alternates) == len(ordered):
            parts = [self._annotation(s, m) for s, a in alternates.items() for m in a.members]
            return AlternateType(name, tuple(dict.fromkeys(parts)), self._mask(found))
        if len(objects) == len(ordered):
            return self._object(name, objects)
        raise NameClash(f"{name} is of different kinds", sorted(found))

    def _enum(self, name: str, found: Mapping[str, Enum]) -> EnumType:
        values: dict[str, int] = {}
        for snapshot, enum in found.items():
            for value in enum.values:
                values[value] = values.get(value, 0) | self._bits[snapshot]
        features = {
            value: self._features(
                {
                    s: e.features.get(value, frozenset())
                    for s, e in found.items()
                    if value in e.values
                }
            )
            for value in values
        }
        return EnumType(name, values, {v: f for v, f in features.items() if f}, self._mask(found))

    def _object(self, name: str, found: Mapping[str, Object]) -> StructType | UnionType:
        leaves = {s: self._leaves(s, type_.name) for s, type_ in found.items()}
        rows = dict.fromkeys(leaf.tags for several in leaves.values() for leaf in several)
        complete = [row for row in rows if not any(_extends(other, row) for other in rows)]
        common = min(len(type_.members) for type_ in found.values()) - 1
        branches: list[Branch] = []
        for row in complete:
            having = {
                s: leaf for s, several in leaves.items() if (leaf := self._leaf(s, several, row))
            }
            features = self._features({s: leaf.features for s, leaf in having.items()})
            fields = self._fields(having, [tag for tag, _ in row])
            if name in self._config.sparse and len(fields) == common:
                continue
            class_name = self._branch_name(name, row) if row else name
            branches.append(Branch(class_name, row, fields, features, self._mask(having)))
        if complete == [()]:
            (only,) = branches
            return StructType(name, only.fields, only.features, only.mask)
        return UnionType(name, tuple(branches), name in self._outputs, self._mask(found))

    def _branch_name(self, union: str, row: Tags) -> str:
        template = self._config.branches.get(union, union + "{branch}")
        return template.format(branch="".join(camel_case(value) for _, value in row))

    def _leaf(self, snapshot: str, several: Sequence[Leaf], row: Tags) -> Leaf | None:
        """What a snapshot knows of a row; it may have fewer discriminators."""
        for leaf in several:
            if leaf.tags == row or _extends(row, leaf.tags):
                further = dict(row[len(leaf.tags) :])
                known = {m.name: self._values(snapshot, m.type) for m in leaf.members}
                if all(value in known.get(tag, (value,)) for tag, value in further.items()):
                    return leaf
        return None

    def _values(self, snapshot: str, masked: str) -> Sequence[str]:
        found = self._models[snapshot].type(masked)
        return found.values if isinstance(found, Enum) else ()

    def _leaves(self, snapshot: str, masked: str, base: Leaf = _NO_LEAF) -> list[Leaf]:
        found = self._models[snapshot].type(masked)
        if not isinstance(found, Object):
            raise ConfigError("arguments, data and branches are objects", [f"{snapshot} {masked}"])
        members = (*base.members, *found.members)
        if found.tag is None:
            return [Leaf(base.tags, members, base.features | found.features)]
        leaves: list[Leaf] = []
        tag = next(member for member in found.members if member.name == found.tag)
        tag_type = self._models[snapshot].type(tag.type)
        for case, variant in found.variants.items():
            marks = (
                tag_type.features.get(case, frozenset())
                if isinstance(tag_type, Enum)
                else frozenset[str]()
            )
            row = (*base.tags, (found.tag, case))
            kept = tuple(member for member in members if member.name != found.tag)
            leaves += self._leaves(snapshot, variant, Leaf(row, kept, base.features | marks))
        return leaves

    # -- members --------------------------------------------------------------------------

    def _fields(self, leaves: Mapping[str, Leaf], tags: Sequence[str] = ()) -> tuple[Field, ...]:
        """Merge the members, the newest snapshot's first and mandatory ones before others."""
        members: dict[str, list[Seen]] = {}
        for snapshot in self._newest_first:
            if snapshot in leaves:
                for member in leaves[snapshot].members:
                    if member.name not in tags:
                        members.setdefault(member.name, []).append(Seen(snapshot, member))
        fields = [self._field(seen, len(leaves)) for seen in members.values()]
        return tuple(sorted(fields, key=lambda field: field.optional))

    def _field(self, seen: Sequence[Seen], owners: int) -> Field:
        wire = seen[0].member.name
        return Field(
            wire,
            python_name(wire),
            self._reference({each.snapshot: each.member.type for each in seen}),
            len(seen) < owners or any(each.member.optional for each in seen),
            self._features({each.snapshot: each.member.features for each in seen}),
            self._mask([each.snapshot for each in seen]),
        )

    def _reference(self, types: By) -> str:
        """The annotation for what is of these types, newest first.

        An older type is left out where a newer one takes the same kind of JSON.
        """
        chosen: dict[str, None] = {}
        taken: set[str] = set()
        for snapshot, masked in types.items():
            kinds = self._kinds(snapshot, masked)
            if not kinds <= taken:
                chosen[self._annotation(snapshot, masked)] = None
                taken |= kinds
        return " | ".join(chosen)

    def _kinds(self, snapshot: str, masked: str) -> set[str]:
        found = self._models[snapshot].type(masked)
        if isinstance(found, Alternate):
            return {kind for member in found.members for kind in self._kinds(snapshot, member)}
        return {found.json_type if isinstance(found, Builtin) else _JSON_KINDS[type(found)]}

    def _annotation(self, snapshot: str, masked: str) -> str:
        found = self._models[snapshot].type(masked)
        if isinstance(found, Builtin):
            return BUILTINS[found.json_type]
        if isinstance(found, Array):
            return f"Sequence[{self._annotation(snapshot, found.element)}]"
        name = self._names.get(snapshot, masked)
        if name is None:
            raise ConfigError("a type without a name", [f"{snapshot} {masked}"])
        return name

    def _mask(self, snapshots: Sequence[str] | Mapping[str, object]) -> int:
        return sum(self._bits[snapshot] for snapshot in snapshots)

    def _features(self, found: Mapping[str, Features]) -> Features:
        """Those in the newest version that has the thing."""
        newest = max(map(version, found))
        return frozenset[str]().union(*(f for s, f in found.items() if version(s) == newest))


_JSON_KINDS: Final[Mapping[type, str]] = {Enum: "string", Array: "array", Object: "object"}


def _extends(row: Tags, prefix: Tags) -> bool:
    return len(row) > len(prefix) and row[: len(prefix)] == prefix
