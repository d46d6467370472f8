"""What a person decides about the generated code: roots.toml and names.toml, read.

Here lives the form of the two files and the errors that name their mistakes; what
follows from them is `naming`'s and `merge`'s business.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from qemu_blocksdk.errors import UsageError

HERE = Path(__file__).parent


class ConfigError(UsageError):
    """roots.toml or names.toml does not fit the snapshots; `subjects` says what in them."""

    def __init__(self, what: str, subjects: Sequence[str]) -> None:
        super().__init__(f"{what}: {', '.join(subjects)}")
        self.subjects: Final[tuple[str, ...]] = tuple(subjects)


class UnnamedType(ConfigError):
    """A type is reached that has no name; `subjects` are the ways to it."""


class NameClash(ConfigError):
    """Two things claim one name, or one type two names."""


class Stale(ConfigError):
    """An entry matches nothing in any snapshot."""


@dataclass(frozen=True)
class Domain:
    """A generated module: the commands and events it binds, the types it claims."""

    name: str
    doc: str
    commands: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """Both files.

    `names` maps access paths to type names, `branches` unions to the template of their
    branches' class names. `rename` holds the class names of commands and events whose
    mechanical name is taken, `open` the field for members that the schema does not list,
    `replaced` what QEMU recommends in place of a deprecated command. `sparse` names the
    unions whose branches without members of their own are left out.
    """

    domains: tuple[Domain, ...]
    names: Mapping[str, str]
    branches: Mapping[str, str] = field(default_factory=dict[str, str])
    rename: Mapping[str, str] = field(default_factory=dict[str, str])
    open: Mapping[str, str] = field(default_factory=dict[str, str])
    replaced: Mapping[str, str] = field(default_factory=dict[str, str])
    sparse: tuple[str, ...] = ()

    @classmethod
    def parse(cls, roots: str, names: str) -> Config:
        """Read the text of roots.toml and of names.toml.

        Raises ConfigError for what does not have the form of the two, and NameClash where
        two domains bind or claim the same.
        """
        try:
            by_root, by_name = tomllib.loads(roots), tomllib.loads(names)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError("roots.toml or names.toml cannot be read", [str(error)]) from error
        domains = tuple(
            _domain(name, _table(table, f"domain.{name}"))
            for name, table in _table(by_root.get("domain"), "domain").items()
        )
        for kind in ("commands", "events", "types"):
            _refuse_repeats(kind, domains)
        return cls(
            domains,
            _texts(by_name.get("names"), "names"),
            _texts(by_name.get("branches", {}), "branches"),
            _texts(by_root.get("rename", {}), "rename"),
            _texts(by_root.get("open", {}), "open"),
            _texts(by_root.get("replaced", {}), "replaced"),
            _list(by_root.get("sparse", []), "sparse"),
        )

    @classmethod
    def load(cls) -> Config:
        """Read the two files of this package."""
        texts = (HERE.joinpath(name).read_text("utf-8") for name in ("roots.toml", "names.toml"))
        return cls.parse(*texts)


def _domain(name: str, table: Mapping[str, object]) -> Domain:
    if unknown := sorted(table.keys() - {"doc", "commands", "events", "types"}):
        raise ConfigError(f"domain.{name} in roots.toml has keys that mean nothing", unknown)
    lists = (_list(table.get(k, []), f"domain.{name}.{k}") for k in ("commands", "events", "types"))
    return Domain(name, _text(table.get("doc"), f"domain.{name}.doc"), *lists)


def _refuse_repeats(kind: str, domains: Sequence[Domain]) -> None:
    taken: dict[str, str] = {}
    for domain in domains:
        for name in cast("tuple[str, ...]", getattr(domain, kind)):
            here = f"domain.{domain.name}.{kind}"
            if name in taken:
                raise NameClash(f"two places in roots.toml name {name}", [taken[name], here])
            taken[name] = here


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ConfigError("roots.toml and names.toml need a table here", [where])
    return cast("dict[str, object]", value)


def _texts(value: object, where: str) -> Mapping[str, str]:
    return {key: _text(text, f"{where}.{key}") for key, text in _table(value, where).items()}


def _list(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError("roots.toml needs a list of strings here", [where])
    return tuple(_text(item, where) for item in cast("list[object]", value))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError("roots.toml and names.toml need a string here", [where])
    return value
