"""The generated directory: written as one step a file, compared byte by byte.

Here lives what `generate` and `check` do with files; the text comes from `package`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from qemu_blocksdk.errors import UsageError

from . import snapshots
from .bind import bind
from .config import HERE, Config
from .fetch import write_atomically
from .layout import HEADER
from .package import render

WIRE: Final = HERE.parent / "wire"


def generate() -> dict[str, str]:
    """The files of `wire/` that follow from snapshots, roots.toml and names.toml."""
    models = {name: snapshots.load(name) for name in snapshots.available()}
    return render(bind(models, Config.load()))


def write(files: Mapping[str, str], directory: Path) -> list[str]:
    """Make the directory hold exactly these files; return the names of those that changed.

    What was generated once and is not any more is removed. Nothing else is: whoever put
    it there may miss it, so it raises UsageError, before anything is written. So does
    whatever else makes it impossible.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}") from error
    changed = [name for name, _ in differences(files, directory)]
    if foreign := [name for name in changed if not _is_ours(directory / name, files)]:
        raise UsageError(f"{directory} has what nothing here generated: {', '.join(foreign)}")
    for name in changed:
        if name in files:
            write_atomically(directory / name, files[name])
        else:
            _remove(directory / name)
    return changed


def _is_ours(path: Path, files: Mapping[str, str]) -> bool:
    """Whether a file may be replaced (by its name) or removed (by its first line)."""
    if path.is_dir():
        return False
    if path.name in files:
        return True
    with contextlib.suppress(OSError):
        return path.read_bytes().startswith(HEADER.splitlines()[0].encode())
    return False


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise UsageError(f"cannot remove {path}: {error.strerror}") from error


def differences(files: Mapping[str, str], directory: Path) -> Iterator[tuple[str, str]]:
    """Name each file that is not as generated, and say what is wrong with it."""
    present = {path.name for path in directory.iterdir()} if directory.is_dir() else set[str]()
    for name, text in sorted(files.items()):
        what = _difference(directory / name, text) if name in present else "missing"
        if what is not None:
            yield name, what
    for name in sorted(present - files.keys() - {"__pycache__"}):
        kind = "orphan directory" if (directory / name).is_dir() else "orphan"
        yield name, f"{kind}: nothing generates it"


def _difference(path: Path, text: str) -> str | None:
    if path.is_dir():
        return "a directory where a file belongs"
    try:
        is_same = path.read_bytes() == text.encode()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if is_same else "differs from what is generated"
