"""What a person decides about the generated code: roots.toml and names.toml, read.

Here lives the form of the two files and the errors that name their mistakes; what
follows from them is `naming`'s and `merge`'s business.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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
        """Read the text of roots.toml and of names.toml."""
        try:
            by_root, by_name = tomllib.loads(roots), tomllib.loads(names)
            domains = tuple(_domain(name, **table) for name, table in by_root["domain"].items())
            return cls(
                domains,
                by_name["names"],
                by_name.get("branches", {}),
                by_root.get("rename", {}),
                by_root.get("open", {}),
                by_root.get("replaced", {}),
                tuple(by_root.get("sparse", ())),
            )
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise ConfigError("roots.toml or names.toml cannot be read", [str(error)]) from error

    @classmethod
    def load(cls) -> Config:
        """Read the two files of this package."""
        texts = (HERE.joinpath(name).read_text("utf-8") for name in ("roots.toml", "names.toml"))
        return cls.parse(*texts)


def _domain(
    name: str,
    *,
    doc: str,
    commands: Sequence[str] = (),
    events: Sequence[str] = (),
    types: Sequence[str] = (),
) -> Domain:
    return Domain(name, doc, tuple(commands), tuple(events), tuple(types))
