"""Names for masked types: from access paths to one name a type, over all snapshots.

Here lives the grammar of paths, the walk of several schemas side by side, and the
assignment of names. What a named type looks like is `merge`'s business.

The one mechanism: the walk follows the same path in all snapshots at once and so sees
the types that correspond. An entry of names.toml names a type wherever its path leads; a
type that no entry reaches in its snapshot takes the name of the one beside it. Since a type
is the same one by whatever path it is reached, one entry is enough.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .config import Config, NameClash, Stale, UnnamedType
from .model import Alternate, Array, Builtin, Enum, Model, Object, Type
from .snapshots import version

Direction = Literal["arg", "ret", "event"]

_STEP: Final = re.compile(r"\.([^.\[{<@]+)|(\[\])|\{([^=}]+)=([^}]+)\}|<(\w+)>")
_KINDS: Final[Mapping[type, str]] = {
    Enum: "<string>",
    Object: "<object>",
    Array: "<array>",
    Alternate: "<alternate>",
}


@dataclass(frozen=True)
class Position:
    """A place in the schemas: the path to it and, by snapshot, the type that is there.

    An `anonymous` place wants no name: the type's members become part of something else.
    """

    path: str
    types: Mapping[str, str]
    anonymous: bool
    direction: Direction
    domain: str


def steps(model: Model, found: Type) -> Iterator[tuple[str, str, bool]]:
    """The ways on from a type: step, type, and whether that is an anonymous place."""
    if isinstance(found, Array):
        yield "[]", found.element, False
    elif isinstance(found, Alternate):
        for member in found.members:
            if kind := _KINDS.get(type(model.type(member))):
                yield kind, member, False
    elif isinstance(found, Object):
        for each in found.members:
            yield f".{each.name}", each.type, False
        for case, variant in found.variants.items():
            yield f"{{{found.tag}={case}}}", variant, True


def walk(models: Mapping[str, Model], config: Config) -> Iterator[Position]:
    """Every place that the bound commands and events reach, each combination of types once."""
    seen: set[tuple[object, ...]] = set()
    for root in _roots(models, config):
        queue = deque([root])
        while queue:
            here = queue.popleft()
            output = here.direction != "arg"
            key = (*(here.types.get(name) for name in models), here.anonymous, output)
            if key in seen:
                continue
            seen.add(key)
            yield here
            queue.extend(_next(models, here))


def _roots(models: Mapping[str, Model], config: Config) -> Iterator[Position]:
    for domain in config.domains:
        for name in domain.commands:
            found = {s: command for s, m in models.items() if (command := m.command(name))}
            if not found:
                raise Stale("roots.toml binds a command that no snapshot has", [name])
            args = {snapshot: command.arg for snapshot, command in found.items()}
            is_union = any(_is_union(models[s].type(arg)) for s, arg in args.items())
            yield Position(f"{name}.arg", args, not is_union, "arg", domain.name)
            returns = {snapshot: command.ret for snapshot, command in found.items()}
            yield Position(f"{name}.ret", returns, False, "ret", domain.name)
        for name in domain.events:
            data = {s: event.arg for s, m in models.items() if (event := m.event(name))}
            if not data:
                raise Stale("roots.toml binds an event that no snapshot has", [name])
            yield Position(f"{name}.arg", data, True, "event", domain.name)


def _is_union(found: Type) -> bool:
    return isinstance(found, Object) and found.tag is not None


def _next(models: Mapping[str, Model], here: Position) -> Iterator[Position]:
    onward: dict[tuple[str, bool], dict[str, str]] = {}
    for snapshot, name in here.types.items():
        model = models[snapshot]
        for step, target, anonymous in steps(model, model.type(name)):
            onward.setdefault((step, anonymous), {})[snapshot] = target
    for (step, anonymous), types in onward.items():
        yield Position(here.path + step, types, anonymous, here.direction, here.domain)


def resolve(model: Model, path: str) -> str | None:
    """Follow a path; None where this schema has no such place."""
    root, _, rest = path.partition(".")
    side, rest = rest[:3], rest[3:]
    start = model.entity(root)
    at: str | None = getattr(start, side, None)
    position = 0
    while at is not None and position < len(rest):
        match = _STEP.match(rest, position)
        if match is None:
            return None
        position = match.end()
        onward = {step: target for step, target, _ in steps(model, model.type(at))}
        at = onward.get(match.group())
    return at


class Names:
    """The name of each type, by snapshot and masked name."""

    def __init__(self, models: Mapping[str, Model], config: Config) -> None:
        self._models = models
        self._of: dict[str, dict[str, str]] = {snapshot: {} for snapshot in models}
        for entry, name in config.names.items():
            self._apply(entry, name)
        self.positions: Final = tuple(walk(models, config))
        while sum(map(self._spread, self.positions)):
            pass

    def get(self, snapshot: str, type_: str) -> str | None:
        """The name of a type, None where it has none."""
        return self._of[snapshot].get(type_)

    def require_all(self) -> None:
        """Raise UnnamedType where a place wants a name and has none."""
        if unnamed := [path for path, _ in self.unnamed()]:
            raise UnnamedType("types without a name in names.toml", unnamed)

    def unnamed(self) -> list[tuple[str, str]]:
        """The paths to types that want a name, the shortest to each, and a suggestion."""
        found: dict[tuple[str, str], str] = {}
        for position in self.positions:
            for snapshot, name in self._nameless(position):
                found.setdefault((snapshot, name), position.path)
        return [(path, suggestion(path)) for path in dict.fromkeys(found.values())]

    def _apply(self, entry: str, name: str) -> None:
        path, _, since = entry.partition("@")
        matched = False
        for snapshot, model in self._models.items():
            if since and version(snapshot) < version(since):
                continue
            target = resolve(model, path)
            if target is not None and not isinstance(model.type(target), Builtin | Array):
                matched = True
                self._assign(snapshot, target, name, entry)
        if not matched:
            raise Stale("names.toml names what no snapshot has", [entry])

    def _assign(self, snapshot: str, type_: str, name: str, path: str) -> None:
        known = self._of[snapshot]
        owner = next((other for other, taken in known.items() if taken == name), type_)
        if owner != type_:
            raise NameClash(f"two different types of {snapshot} claim the name {name}", [path])
        if known.setdefault(type_, name) != name:
            raise NameClash(f"a type of {snapshot} is named {known[type_]} and {name}", [path])

    def _spread(self, position: Position) -> bool:
        """Give the types at a place the name that their counterparts have."""
        nameless = self._nameless(position)
        names = {name for s, t in position.types.items() if (name := self.get(s, t))}
        if not nameless or len(names) != 1:
            return False
        (name,) = names
        for snapshot, type_ in nameless:
            self._assign(snapshot, type_, name, position.path)
        return True

    def _nameless(self, position: Position) -> list[tuple[str, str]]:
        if position.anonymous:
            return []
        return [
            (snapshot, name)
            for snapshot, name in position.types.items()
            if self.get(snapshot, name) is None and self._wants_name(snapshot, name, position)
        ]

    def _wants_name(self, snapshot: str, type_: str, position: Position) -> bool:
        found = self._models[snapshot].type(type_)
        is_nothing = is_empty(found) and position.path.endswith(".ret")
        return not is_nothing and not isinstance(found, Builtin | Array)


def is_empty(found: Type) -> bool:
    """Whether the type is the object without members: what a command returns for nothing."""
    return isinstance(found, Object) and not found.members


def camel_case(words: str) -> str:
    """`x-debug-query_block` -> `XDebugQueryBlock`; a word of capitals only loses them."""
    parts = re.split(r"[-_.]", words)
    return "".join(
        part.capitalize() if part.isupper() else part[:1].upper() + part[1:] for part in parts
    )


def suggestion(path: str) -> str:
    """A name for the type at a path, for a person to improve on."""
    words = re.sub(r"\.(arg|ret)\b", "", path)
    return camel_case(re.sub(r"\{[^=]+=([^}]+)\}|\[\]|<(\w+)>", r"-\1\2", words))
