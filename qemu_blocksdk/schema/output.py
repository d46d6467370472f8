"""The generated directory: written as one step a file, compared byte by byte.

Here lives what `generate` and `check` do with files; the text comes from `package`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from qemu_blocksdk.errors import UsageError

from . import snapshots
from .bind import bind
from .config import HERE, Config
from .fetch import write_atomically
from .package import render

WIRE: Final = HERE.parent / "wire"


def generate() -> dict[str, str]:
    """The files of `wire/` that follow from snapshots, roots.toml and names.toml."""
    models = {name: snapshots.load(name) for name in snapshots.available()}
    return render(bind(models, Config.load()))


def write(files: Mapping[str, str], directory: Path) -> list[str]:
    """Make the directory hold exactly these files; return the names of those that changed.

    Raises UsageError where that is not possible.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}") from error
    changed = [name for name, _ in differences(files, directory)]
    for name in changed:
        if name in files:
            write_atomically(directory / name, files[name])
        else:
            (directory / name).unlink()
    return changed


def differences(files: Mapping[str, str], directory: Path) -> Iterator[tuple[str, str]]:
    """Name each file that is not as generated, and say what is wrong with it."""
    present = {path.name for path in directory.iterdir()} if directory.is_dir() else set[str]()
    for name, text in sorted(files.items()):
        if name not in present:
            yield name, "missing"
        elif (directory / name).read_bytes() != text.encode():
            yield name, "differs from what is generated"
    for name in sorted(present - files.keys() - {"__pycache__"}):
        yield name, "orphan: nothing generates it"
