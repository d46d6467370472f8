"""The snapshots: what real binaries answered to `query-qmp-schema`.

Here lives the form of the files under `snapshots/` and their reading. A file is JSON
with one entry of the schema a line, so that a difference between two versions can be
read; `meta` says which binary answered.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final, cast

from qemu_blocksdk.errors import UsageError

from .check import Schema

DIRECTORY: Final = Path(__file__).with_name("snapshots")


@cache
def available() -> tuple[str, ...]:
    """The names of the snapshots, older QEMU first: `storage-daemon-7.2`, `system-7.2`, ..."""
    return tuple(sorted((path.stem for path in DIRECTORY.glob("*.json")), key=_age))


@cache
def load(name: str) -> Schema:
    """Read a snapshot; once a process.

    Raises UsageError where there is none of this name.
    """
    if name not in available():
        raise UsageError(f"no snapshot {name!r}; there are: {', '.join(available())}")
    return read(DIRECTORY / f"{name}.json")


def read(path: Path) -> Schema:
    """Read a snapshot from a file."""
    content = cast("dict[str, object]", json.loads(path.read_text(encoding="utf-8")))
    return Schema.from_json(content.get("schema"))


def dump(meta: dict[str, str], entries: list[object]) -> str:
    """The text of a snapshot file."""
    lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in entries)
    return f'{{"meta": {json.dumps(meta, sort_keys=True)},\n"schema": [\n{lines}\n]}}\n'


def version(name: str) -> tuple[int, ...]:
    """The QEMU version in a snapshot's name: (7, 2) for `system-7.2`."""
    return tuple(int(part) for part in name.rpartition("-")[2].split("."))


def _age(name: str) -> tuple[tuple[int, ...], str]:
    return version(name), name
