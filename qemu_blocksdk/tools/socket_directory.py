"""A directory for sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final

from qemu_blocksdk.qmp import background_loop

_SHORT: Final = 50
"""Of a directory's path, in bytes: below it there is room for ours and the name of a socket."""


def short_directory(*, prefix: str = "blocksdk-", longest: int = _SHORT) -> Path:
    """Make a private directory (0700) whose path leaves room for the name of a socket.

    Where that of temporary files is longer than ``longest`` bytes, or full, it is in another.
    Raises OSError.
    """
    usual = tempfile.gettempdir()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    failure: OSError | None = None
    for folder in (usual, *((runtime,) if runtime else ()), "/tmp", "/var/tmp", "/dev/shm"):
        if len(os.fsencode(folder)) <= longest:
            try:
                return Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
            except OSError as error:
                failure = failure or error
    assert failure is not None
    raise failure


class SocketDirectory:
    """A directory for sockets, private to this user, gone with its owner at the latest."""

    def __init__(self) -> None:
        self.path: Path = short_directory()
        self._last_resort = weakref.finalize(
            self, _remove, self.path, background_loop.process_guard
        )

    def remove(self) -> None:
        """Delete the directory and all in it. May be repeated."""
        self._last_resort()


def _remove(path: Path, guard: background_loop.ProcessGuard) -> None:
    if guard.is_here:
        with contextlib.suppress(OSError):  # where it is empty, without a descriptor to list it
            path.rmdir()
            return
        shutil.rmtree(path, ignore_errors=True)
