"""A backing chain, followed by the headers alone.

Before QEMU opens one: it does not see that a chain loops before it has used up its
descriptors (20 seconds, then it aborts), and guesses a format that no header tells.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from qemu_blocksdk.errors import UsageError

from .probe import ImageProbe, probe

_PROTOCOL = re.compile(r"[^/]*:")


def assert_openable(path: str, format: str, *, may_guess: bool = True) -> None:
    """Raise UsageError for a backing chain that loops.

    And, unless QEMU ``may_guess``, for one in which the format of a backing file is not
    told. What the headers do not tell is left to QEMU.
    """
    seen: list[str] = []
    files = set[tuple[int, int]]()
    while True:
        found, identity = _look(path, format)
        if found is None or found.backing_file is None:
            return
        seen.append(path)
        if identity in files:
            raise UsageError(f"the backing chain loops: {' -> '.join(seen)}")
        files.add(identity)
        if found.backing_format is None and found.format != "vmdk" and not may_guess:
            raise UsageError(
                f"{path!r} does not tell the format of its backing file"
                f" {found.backing_file!r}; rebase(..., unsafe=True) records it"
            )
        if not found.backing_file or _PROTOCOL.match(found.backing_file):
            return
        path = str(Path(path).parent / found.backing_file)
        format = found.backing_format or found.format


def _look(path: str, format: str) -> tuple[ImageProbe | None, tuple[int, int]]:
    """What the header says, if it is of the format that it is taken for."""
    with contextlib.suppress(OSError, UsageError):
        found = probe(path)
        status = os.stat(path)  # noqa: PTH116 - a str may hold any bytes
        if found.format == format:
            return found, (status.st_dev, status.st_ino)
    return None, (0, 0)
