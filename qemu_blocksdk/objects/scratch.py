"""A directory for sockets."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from pathlib import Path

from qemu_blocksdk.qmp import portal


class Scratch:
    """A directory for sockets, private to this user, gone with its owner at the latest."""

    def __init__(self) -> None:
        self.path: Path = Path(tempfile.mkdtemp(prefix="blocksdk-"))
        self._last_resort = weakref.finalize(self, _remove, self.path, portal.home)

    def remove(self) -> None:
        """Delete the directory and all in it. May be repeated."""
        self._last_resort()


def _remove(path: Path, home: portal.Home) -> None:
    if home.is_here:
        with contextlib.suppress(OSError):  # where it is empty, without a descriptor to list it
            path.rmdir()
            return
        shutil.rmtree(path, ignore_errors=True)
