"""What is bound, and where: commands, events and the types they reach, in their modules.

Here lives the choice of a module for each type, the class names of commands and events, and
the search for clashes; how the types of several snapshots become one is `merge`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .config import Config, ConfigError, NameClash, Stale
from .merge import By, Types
from .merged import CommandType, EventType, Merged, Module, NamedType, UnionType
from .model import Alternate, Model
from .naming import Names, camel_case, is_empty

# What generated modules use, and what the package exports, under its own name.
_OWN_NAMES: Final = """
    BackedOptions CacheMode ClassVar Command Deprecated DriverOptions Event EventSelector JsonValue
    Literal Mapping Null Self Sequence Struct TYPE_CHECKING Unknown Unpack Unstable available_in
    cast evolve
"""
RESERVED: Final = frozenset(_OWN_NAMES.split())


@dataclass
class _Reached:
    """The types that the roots lead to, by name: what they are, where, which way they go."""

    types: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    homes: dict[str, str] = field(default_factory=dict[str, str])
    outputs: set[str] = field(default_factory=set[str])


def bind(models: Mapping[str, Model], config: Config) -> Merged:
    """Merge what roots.toml binds.

    Raises UnnamedType, NameClash or Stale, naming the paths.
    """
    names = Names(models, config)
    names.require_all()
    return _Bind(models, config, names).run()


class _Bind:
    def __init__(self, models: Mapping[str, Model], config: Config, names: Names) -> None:
        self._models = models
        self._config = config
        self._names = names
        self._reached = self._reach()
        self._types = Types(models, config, names, self._reached.outputs)

    def run(self) -> Merged:
        self._settle()
        commands = {name: self._command(name) for d in self._config.domains for name in d.commands}
        events = {name: self._event(name) for d in self._config.domains for name in d.events}
        wires = {command.name: command.wire for command in commands.values()}
        types: dict[str, NamedType] = {}
        for name, found in self._reached.types.items():
            # Where a command's arguments are a type of the same name, its class is that type.
            if name not in wires or not self._is_arguments(wires[name], found):
                types[name] = self._types.type(name, found)
        _refuse_clashes([*types.values(), *commands.values(), *events.values()])
        homes = self._reached.homes
        modules = tuple(
            Module(
                domain.name,
                domain.doc,
                tuple(types[name] for name in sorted(types) if homes[name] == domain.name),
                tuple(commands[name] for name in domain.commands),
                tuple(events[name] for name in domain.events),
            )
            for domain in self._config.domains
        )
        return Merged(tuple(self._models), modules)

    def _reach(self) -> _Reached:
        reached = _Reached()
        for position in self._names.positions:
            for snapshot, masked in position.types.items():
                name = self._names.get(snapshot, masked)
                if name is not None and not position.anonymous:
                    reached.types.setdefault(name, {})[snapshot] = masked
                    reached.homes.setdefault(name, position.domain)
                    if position.direction != "arg":
                        reached.outputs.add(name)
        return reached

    def _settle(self) -> None:
        """Move types to the domains that claim them, and alternates to their members."""
        types, homes = self._reached.types, self._reached.homes
        for domain in self._config.domains:
            if unknown := [name for name in domain.types if name not in types]:
                raise Stale(f"domain {domain.name} claims types that do not exist", unknown)
            homes.update(dict.fromkeys(domain.types, domain.name))
        for name, found in types.items():
            # An alternate is an alias, evaluated on import.
            parts = {homes[part] for part in self._parts(found)}
            if len(parts) > 1:
                raise ConfigError(f"the parts of {name} are in several domains", sorted(parts))
            homes[name] = next(iter(parts), homes[name])

    def _parts(self, found: By) -> list[str]:
        types = {
            snapshot: self._models[snapshot].type(masked) for snapshot, masked in found.items()
        }
        members = [
            self._names.get(snapshot, member)
            for snapshot, type_ in types.items()
            if isinstance(type_, Alternate)
            for member in type_.members
        ]
        return [name for name in members if name is not None]

    def _is_arguments(self, command: str, found: By) -> bool:
        bound = {snapshot: self._models[snapshot].command(command) for snapshot in found}
        return all(c is not None and c.arg == found[snapshot] for snapshot, c in bound.items())

    def _class_name(self, wire: str) -> str:
        return self._config.rename.get(wire) or camel_case(wire)

    def _command(self, wire: str) -> CommandType:
        merge = self._types
        found = {s: c for s in merge.newest_first if (c := self._models[s].command(wire))}
        args = {snapshot: command.arg for snapshot, command in found.items()}
        leaves = {snapshot: merge.leaves(snapshot, masked) for snapshot, masked in args.items()}
        is_boxed = any(leaf.tags for several in leaves.values() for leaf in several)
        plain = {} if is_boxed else {snapshot: several[0] for snapshot, several in leaves.items()}
        returns = dict.fromkeys(self._returned(s, command.ret) for s, command in found.items())
        return CommandType(
            self._class_name(wire),
            wire,
            merge.fields(plain),
            merge.reference(args) if is_boxed else None,
            " | ".join(returns),
            self._config.open.get(wire),
            self._config.replaced.get(wire),
            merge.features({snapshot: command.features for snapshot, command in found.items()}),
            merge.mask(found),
        )

    def _returned(self, snapshot: str, masked: str) -> str:
        if is_empty(self._models[snapshot].type(masked)):
            return "None"
        annotation = self._types.annotation(snapshot, masked)
        is_array = annotation.startswith("Sequence[")
        return "list" + annotation.removeprefix("Sequence") if is_array else annotation

    def _event(self, wire: str) -> EventType:
        merge = self._types
        found = {s: e for s in merge.newest_first if (e := self._models[s].event(wire))}
        leaves = {snapshot: merge.leaves(snapshot, event.arg) for snapshot, event in found.items()}
        if any(leaf.tags for several in leaves.values() for leaf in several):
            raise ConfigError("an event whose data is a union has no form yet", [wire])
        return EventType(
            self._class_name(wire),
            wire,
            merge.fields({snapshot: several[0] for snapshot, several in leaves.items()}),
            merge.features({snapshot: event.features for snapshot, event in found.items()}),
            merge.mask(found),
        )


def _refuse_clashes(things: Sequence[NamedType | CommandType | EventType]) -> None:
    taken: dict[str, str] = dict.fromkeys(RESERVED, "a name that every module needs")
    for thing in things:
        claims = [(thing.name, str(getattr(thing, "wire", f"type {thing.name}")))]
        if isinstance(thing, UnionType):
            claims += [(b.name, f"branch {dict(b.tags)} of {thing.name}") for b in thing.branches]
        for name, claimant in claims:
            if name in taken:
                raise NameClash(f"two claim the class name {name}", [taken[name], claimant])
            taken[name] = claimant
