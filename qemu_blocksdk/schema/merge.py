"""Several schemas, one type: what any snapshot has is there, and says which ones have it.

Here lives the merging of members, values and branches under a name; which types there are,
and in which module, is `bind`'s business.

The one mechanism: an object is taken apart into its leaves (one for a struct, one a branch
for a union, also of unions inside unions), each a row of discriminator values and a
list of members. Leaves of the same row are merged, member by member.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from .config import Config, ConfigError, NameClash
from .merged import AlternateType, Branch, EnumType, Field, NamedType, StructType, UnionType
from .model import Alternate, Array, Builtin, Enum, Features, Member, Model, Object
from .naming import Names, camel_case
from .snapshots import version

_BUILTINS: Final[Mapping[str, str]] = {
    "string": "str",
    "int": "int",
    "number": "float",
    "boolean": "bool",
    "null": "Null",
    "value": "JsonValue",
}
_JSON_KINDS: Final[Mapping[type, str]] = {Enum: "string", Array: "array", Object: "object"}
# As attributes these would hide the builtins from the annotations below them, or the
# attributes of codec's base classes.
_TAKEN: Final = frozenset(
    ("bool", "float", "int", "message", "str", "timestamp", "unknown_members")
)

Tags = tuple[tuple[str, str], ...]
By = Mapping[str, str]  # snapshot -> masked name


class Leaf(NamedTuple):
    """The members of one object, or of one branch of a union."""

    tags: Tags = ()
    members: tuple[Member, ...] = ()
    features: Features = frozenset()


_ROOT: Final = Leaf()


def python_name(wire: str) -> str:
    """The attribute for a member: `node-name` -> `node_name`, `from` -> `from_`."""
    name = wire.replace("-", "_")
    if keyword.iskeyword(name) or name in _TAKEN:
        name += "_"
    if not name.isidentifier() or name.startswith("_"):
        raise ConfigError("a member's name makes no attribute", [wire])
    return name


class Types:
    """Merges types; knows the names of those that they refer to."""

    def __init__(
        self, models: Mapping[str, Model], config: Config, names: Names, outputs: Iterable[str]
    ) -> None:
        self._models = models
        self._config = config
        self._names = names
        self._outputs = frozenset(outputs)
        # The newest decides where versions differ in what is no question of presence.
        self.newest_first: Final = sorted(models, key=version, reverse=True)
        self._bits = {snapshot: 1 << index for index, snapshot in enumerate(models)}

    def type(self, name: str, found: By) -> NamedType:
        """Merge what goes by this name: an enum, an object or an alternate in all snapshots."""
        types = {s: self._models[s].type(found[s]) for s in self.newest_first if s in found}
        enums = {s: t for s, t in types.items() if isinstance(t, Enum)}
        alternates = {s: t for s, t in types.items() if isinstance(t, Alternate)}
        objects = {s: t for s, t in types.items() if isinstance(t, Object)}
        if len(enums) == len(types):
            return self._enum(name, enums)
        if len(alternates) == len(types):
            parts = [self.annotation(s, m) for s, a in alternates.items() for m in a.members]
            return AlternateType(name, tuple(dict.fromkeys(parts)), self.mask(found))
        if len(objects) == len(types):
            return self._object(name, objects)
        raise NameClash(f"{name} is not of the same kind everywhere", sorted(found))

    def leaves(self, snapshot: str, masked: str, base: Leaf = _ROOT) -> list[Leaf]:
        """Take an object apart; `base` is what it continues as a branch."""
        found = self._models[snapshot].type(masked)
        if not isinstance(found, Object):
            raise ConfigError("arguments, data and branches are objects", [f"{snapshot} {masked}"])
        members = (*base.members, *found.members)
        if found.tag is None:
            return [Leaf(base.tags, members, base.features | found.features)]
        tag = next(member for member in found.members if member.name == found.tag)
        tag_type = self._models[snapshot].type(tag.type)
        kept = tuple(member for member in members if member is not tag)
        leaves: list[Leaf] = []
        for case, variant in found.variants.items():
            row = (*base.tags, (tag.name, case))
            marks = tag_type.features.get(case) if isinstance(tag_type, Enum) else None
            branch = Leaf(row, kept, base.features | (marks or frozenset()))
            leaves += self.leaves(snapshot, variant, branch)
        return leaves

    def fields(self, leaves: Mapping[str, Leaf]) -> tuple[Field, ...]:
        """Merge members, the newest snapshot's first and mandatory ones before others."""
        seen: dict[str, dict[str, Member]] = {}
        for snapshot in self.newest_first:
            if snapshot in leaves:
                for member in leaves[snapshot].members:
                    seen.setdefault(member.name, {})[snapshot] = member
        fields = [self._field(name, members, len(leaves)) for name, members in seen.items()]
        return tuple(sorted(fields, key=lambda field: field.optional))

    def reference(self, types: By) -> str:
        """The annotation for what is of these types, given newest first.

        An older type is left out where a newer one takes the same kind of JSON.
        """
        chosen: list[str] = []
        taken: set[str] = set()
        for snapshot, masked in types.items():
            kinds = self._kinds(snapshot, masked)
            if not kinds <= taken:
                chosen.append(self.annotation(snapshot, masked))
                taken |= kinds
        return " | ".join(dict.fromkeys(chosen))

    def annotation(self, snapshot: str, masked: str) -> str:
        """The annotation for one snapshot's type."""
        found = self._models[snapshot].type(masked)
        if isinstance(found, Builtin):
            return _BUILTINS[found.json_type]
        if isinstance(found, Array):
            return f"Sequence[{self.annotation(snapshot, found.element)}]"
        name = self._names.get(snapshot, masked)
        if name is None:
            raise ConfigError("a type without a name", [f"{snapshot} {masked}"])
        return name

    def mask(self, snapshots: Iterable[str]) -> int:
        """The bits of these snapshots."""
        return sum(self._bits[snapshot] for snapshot in snapshots)

    def features(self, found: Mapping[str, Features]) -> Features:
        """Those that the thing has in the newest version that has it."""
        newest = max(map(version, found))
        return frozenset[str]().union(*(f for s, f in found.items() if version(s) == newest))

    def _enum(self, name: str, found: Mapping[str, Enum]) -> EnumType:
        having: dict[str, dict[str, Features]] = {}
        for snapshot, enum in found.items():
            for value in enum.values:
                marks = enum.features.get(value, frozenset())
                having.setdefault(value, {})[snapshot] = marks
        values = {value: self.mask(by_snapshot) for value, by_snapshot in having.items()}
        features = {value: self.features(by_snapshot) for value, by_snapshot in having.items()}
        return EnumType(name, values, features, self.mask(found))

    def _object(self, name: str, found: Mapping[str, Object]) -> StructType | UnionType:
        leaves = {s: self.leaves(s, type_.name) for s, type_ in found.items()}
        rows = dict.fromkeys(leaf.tags for several in leaves.values() for leaf in several)
        branches: list[Branch] = []
        for row in rows:
            # A snapshot in which a branch is no union yet knows a shorter row.
            if any(_extends(other, row) for other in rows):
                continue
            having = {s: leaf for s in leaves if (leaf := self._leaf(s, leaves[s], row))}
            features = self.features({s: leaf.features for s, leaf in having.items()})
            fields = self.fields(having)
            if name not in self._config.sparse or len(fields) > _common(leaves):
                branch = self._branch_name(name, row)
                branches.append(Branch(branch, row, fields, features, self.mask(having)))
        if rows.keys() == {()}:
            (only,) = branches
            return StructType(name, only.fields, only.features, only.mask)
        return UnionType(name, tuple(branches), name in self._outputs, self.mask(found))

    def _branch_name(self, union: str, row: Tags) -> str:
        if not row:
            return union
        template = self._config.branches.get(union, union + "{branch}")
        return template.format(branch="".join(camel_case(value) for _, value in row))

    def _leaf(self, snapshot: str, several: Sequence[Leaf], row: Tags) -> Leaf | None:
        """What a snapshot knows of a row, without the discriminators that it has as members."""
        for leaf in several:
            if leaf.tags == row:
                return leaf
            if _extends(row, leaf.tags):
                further = dict(row[len(leaf.tags) :])
                known = [member for member in leaf.members if member.name in further]
                if all(self._may_be(snapshot, m.type, further[m.name]) for m in known):
                    rest = tuple(member for member in leaf.members if member not in known)
                    return Leaf(row, rest, leaf.features)
        return None

    def _may_be(self, snapshot: str, masked: str, value: str) -> bool:
        found = self._models[snapshot].type(masked)
        return not isinstance(found, Enum) or value in found.values

    def _field(self, wire: str, members: Mapping[str, Member], owners: int) -> Field:
        return Field(
            wire,
            python_name(wire),
            self.reference({snapshot: member.type for snapshot, member in members.items()}),
            len(members) < owners or any(member.optional for member in members.values()),
            self.features({snapshot: member.features for snapshot, member in members.items()}),
            self.mask(members),
        )

    def _kinds(self, snapshot: str, masked: str) -> set[str]:
        found = self._models[snapshot].type(masked)
        if isinstance(found, Alternate):
            return {kind for member in found.members for kind in self._kinds(snapshot, member)}
        return {found.json_type if isinstance(found, Builtin) else _JSON_KINDS[type(found)]}


def _extends(row: Tags, prefix: Tags) -> bool:
    return len(row) > len(prefix) and row[: len(prefix)] == prefix


def _common(leaves: Mapping[str, Sequence[Leaf]]) -> int:
    """The number of members that every branch has."""
    return min(len(leaf.members) for several in leaves.values() for leaf in several)
