"""The page of the tools' options, read."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from tests.live.helpers import ROOT

_SPELLING = re.compile(r"`([^`]+)`(?: \((?:(\d+)\.(\d+))?(?:, )?(?:not (\d+)\.(\d+))?\))?")
_REFERENCE = re.compile(r"`([A-Z][^`]*)`")


class Spelling(NamedTuple):
    """An option or command as the tool takes it, the first QEMU that does and the first not to."""

    text: str
    since: tuple[int, int]
    gone: tuple[int, int]

    def is_in(self, version: tuple[int, int]) -> bool:
        """Whether a QEMU takes it."""
        return self.since <= version < self.gone


class Row(NamedTuple):
    """What has its place in the API, in several spellings, and where that is."""

    spellings: tuple[Spelling, ...]
    where: str

    @property
    def references(self) -> list[str]:
        """The places in the API: ``Image.create(backing=)``."""
        return _REFERENCE.findall(self.where)


@cache
def tables() -> dict[str, list[Row]]:
    """The rows below each heading."""
    found: dict[str, list[Row]] = {}
    heading = ""
    for line in (ROOT / "docs" / "tool-options.md").read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            _, left, right, _ = line.split("|")
            spellings = [
                Spelling(
                    text,
                    since=(int(major or 0), int(minor or 0)),
                    gone=(int(gone or 1000), int(gone_minor or 0)),
                )
                for text, major, minor, gone, gone_minor in _SPELLING.findall(left)
            ]
            found.setdefault(heading, []).append(Row(tuple(spellings), right.strip()))
    return found


def spellings(heading: str) -> list[Spelling]:
    """All spellings below a heading."""
    return [spelling for row in tables()[heading] for spelling in row.spellings]
