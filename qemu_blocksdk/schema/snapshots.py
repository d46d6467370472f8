"""The snapshots: what real binaries answered to `query-qmp-schema`.

Here lives the form of the files under `snapshots/` and their reading. A file is JSON
with one entry of the schema a line, so that a difference between two versions can be
read; `meta` says which binary answered.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Final, cast, get_args

from qemu_blocksdk.errors import UsageError

from .check import Schema
from .model import ServerKind

DIRECTORY: Final = Path(__file__).with_name("snapshots")
_NAME: Final = re.compile(rf"({'|'.join(get_args(ServerKind))})-\d+(\.\d+)*")


@cache
def available() -> tuple[str, ...]:
    """The names of the snapshots, older QEMU first: `storage-daemon-7.2`, `system-7.2`, ...

    Raises UsageError where a JSON file is called anything else.
    """
    names = [path.stem for path in DIRECTORY.glob("*.json")]
    if strays := sorted(name for name in names if not _NAME.fullmatch(name)):
        files = ", ".join(f"{name}.json" for name in strays)
        raise UsageError(f"{files} in {DIRECTORY}: a snapshot is called like system-10.0.json")
    return tuple(sorted(names, key=_age))


@cache
def load(name: str) -> Schema:
    """Read a snapshot; once a process.

    Raises UsageError where there is none of this name.
    """
    if name not in available():
        raise UsageError(f"no snapshot {name!r}; there are: {', '.join(available())}")
    return read(DIRECTORY / f"{name}.json")


def read(path: Path) -> Schema:
    """Read a snapshot from a file.

    Raises UsageError where there is no file, or no snapshot in it.
    """
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no snapshot: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no snapshot: not a JSON object")
    try:
        return Schema.from_json(cast("dict[str, object]", content).get("schema"))
    except UsageError as error:
        raise UsageError(f"{path} is no snapshot: {error}") from error


def dump(meta: dict[str, str], entries: list[object]) -> str:
    """The text of a snapshot file."""
    lines = ",\n".join(json.dumps(entry, sort_keys=True) for entry in entries)
    return f'{{"meta": {json.dumps(meta, sort_keys=True)},\n"schema": [\n{lines}\n]}}\n'


def version(name: str) -> tuple[int, ...]:
    """The QEMU version in a snapshot's name: (7, 2) for `system-7.2`."""
    return tuple(int(part) for part in name.rpartition("-")[2].split("."))


def _age(name: str) -> tuple[tuple[int, ...], str]:
    return version(name), name
