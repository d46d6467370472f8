"""A backing chain, followed by the headers alone.

Before QEMU opens one: it does not see that a chain loops before it has used up its
descriptors (20 seconds and 1 GB, then it aborts), and guesses a format that no header tells.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from qemu_blocksdk.codec.dotted import leaves
from qemu_blocksdk.codec.filename import has_protocol
from qemu_blocksdk.codec.json_text import from_text
from qemu_blocksdk.errors import UsageError

from .probe import ImageProbe, probe

FileId = tuple[str, int, int]
"""A file or a block device, under whatever name."""

_LONGEST = 500
_WRAPPED = re.compile(r"(?:blkdebug|blkverify):[^:]*:(?=.)", re.DOTALL)
_PROTOCOL_DRIVERS = ("file", "host_device")
_FORMATS = ("parallels", "qcow", "qcow2", "qed", "raw", "vhdx", "vmdk", "vpc")
"""Those that say what is below them, and the one that says that nothing is."""


class _Reference(NamedTuple):
    """A file that something refers to; ``formats`` are those it may be of, None any."""

    path: str
    formats: frozenset[str] | None
    backing_is_told: bool = False


def assert_openable(name: str, format: str | None, *, may_guess: bool = True) -> dict[FileId, str]:
    """Raise UsageError for a backing chain that loops or has more than 500 files.

    And for one with a directory, a FIFO (QEMU would wait for its writer) or a socket in it; and,
    unless QEMU ``may_guess``, for one in which the format of a backing file is not told. What the
    headers do not tell is left to QEMU. ``name`` is an absolute path, or a file name in QEMU's
    syntax without a ``format``. Returns the files, their paths by their identities.
    """
    seen: dict[FileId, str] = {}
    above: dict[FileId, str] = {}
    # The reference to follow next, or the file that is left.
    todo: list[_Reference | FileId]
    if format is None:
        todo = list(_references(name, "", None))
    else:
        todo = [_Reference(name, frozenset({format}))]
    while todo:
        item = todo.pop()
        if not isinstance(item, _Reference):
            del above[item]
            continue
        file = identity(item.path)
        if file is None:
            continue
        if file in above and not item.backing_is_told:
            raise UsageError(f"the backing chain loops: {_shown([*above.values(), item.path])}")
        if file in seen:
            continue
        assert_can_be_an_image(item.path)
        if len(seen) == _LONGEST:
            raise UsageError(f"the backing chain of {name!r} has more than {_LONGEST} files")
        seen[file] = item.path
        found = _look(item)
        if found is None or found.backing_file is None or item.backing_is_told:
            continue
        below = list(_references(found.backing_file, item.path, found.backing_format))
        if found.backing_file.startswith("json:"):
            is_told = all(reference.formats is not None for reference in below)
        else:
            is_told = found.backing_format is not None
        if not is_told and found.format != "vmdk" and not may_guess:
            raise UsageError(
                f"{item.path!r} does not tell the format of its backing file"
                f" {found.backing_file!r}; rebase(..., unsafe=True) records it"
            )
        above[file] = item.path
        todo += [file, *below]
    return seen


def identity(path: str) -> FileId | None:
    """Return what a path leads to; None where nothing is there."""
    with suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116 - a str may hold any bytes
        if stat.S_ISBLK(status.st_mode):
            return "device", os.major(status.st_rdev), os.minor(status.st_rdev)
        return "file", status.st_dev, status.st_ino
    return None


def assert_can_be_an_image(path: str) -> None:
    """Raise UsageError for a directory, a socket, or a FIFO, where QEMU waits for a writer."""
    mode = 0
    with suppress(OSError):
        mode = os.stat(path).st_mode  # noqa: PTH116 - a str may hold any bytes
    if stat.S_ISFIFO(mode) or stat.S_ISDIR(mode) or stat.S_ISSOCK(mode):
        raise UsageError(f"{path!r} is neither a regular file nor a device")


def _look(file: _Reference) -> ImageProbe | None:
    """What the header says, if it is of a format that the file is taken for."""
    with suppress(OSError, UsageError):
        found = probe(file.path)
        if file.formats is None or found.format in file.formats:
            return found
    return None


def _references(name: str, image: str, format: str | None) -> Iterator[_Reference]:
    """Yield the files that a file name means to QEMU when it stands in the header of an image."""
    while (wrapped := _WRAPPED.match(name)) is not None:
        name, image = name[wrapped.end() :], ""
    formats = None if format is None else frozenset({format})
    if name.startswith("json:"):
        yield from _in_options(name.removeprefix("json:"), format)
    elif name.startswith("file:"):
        yield _Reference(_from_here(name.removeprefix("file:")), formats)
    elif name and not has_protocol(name):
        yield _Reference(os.path.join(os.path.dirname(image), name), formats)  # noqa: PTH118, PTH120


def _in_options(text: str, format: str | None) -> Iterator[_Reference]:
    """Yield the files of ``json:`` options, whose names are literal, at whatever depth."""
    json = from_text(text)
    if not isinstance(json, Mapping):
        return
    flat = dict(leaves(json))
    if format is not None:
        flat["driver"] = format  # QEMU: what the header says goes before what the name says
    for name, value in flat.items():
        place, _, last = f".{name}".rpartition(".")
        if last == "filename" and isinstance(value, str):
            levels = place[1:].split(".") if place else []
            # What is above the last "backing" is another image.
            first = max((at for at, level in enumerate(levels, 1) if level == "backing"), default=0)
            over = [".".join(levels[:length]) for length in range(first, len(levels) + 1)]
            drivers = [flat.get(f"{level}.driver" if level else "driver") for level in over]
            formats = frozenset(driver for driver in _FORMATS if driver in drivers)
            # QEMU guesses what is below a filter, but not of a file that says that it is one.
            is_told = formats or drivers[-1] in _PROTOCOL_DRIVERS
            yield _Reference(
                _from_here(value),
                formats if is_told else None,
                backing_is_told=any(
                    key == "backing" or key.startswith("backing.")
                    for level in over
                    for key in _members(flat, level)
                ),
            )


def _members(flat: Mapping[str, object], level: str) -> Iterator[str]:
    start = f"{level}." if level else ""
    return (name.removeprefix(start) for name in flat if name.startswith(start))


def _from_here(path: str) -> str:
    """QEMU takes these from the working directory, not from the image's folder."""
    return os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118


def _shown(paths: list[str]) -> str:
    return " -> ".join(paths if len(paths) < 9 else [*paths[:4], "...", *paths[-4:]])
