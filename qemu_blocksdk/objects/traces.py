"""What exports are in the file system, and what a QEMU that is killed leaves of them there.

That is sockets and mounts, each known by its number, so that what somebody else has put at the
path since is never removed. Nothing here asks a file system that QEMU serves: it may hang.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.qmp import portal
from qemu_blocksdk.tools.run import run

from .listener import checked
from .scratch import Scratch

_PATIENCE = 5.0
_UNMOUNT = (("fusermount3", "-u", "-z", "--"), ("umount", "--lazy", "--no-canonicalize", "--"))
_ESCAPE = re.compile(rb"\\(\d{3})")


class Traces:
    """The sockets and mounts of one QEMU's exports, and a directory for its sockets."""

    def __init__(self) -> None:
        self._numbers: dict[str, _Number] = {}
        self._scratch: Scratch | None = None
        self._home = portal.home

    def new_socket(self, path: str | os.PathLike[str] | None, *, name: str) -> str:
        """Return the path of a socket to be; by default of that ``name`` in the directory.

        Raises UsageError for one that is too long or taken.
        """
        if path is None:
            self._scratch = self._scratch or Scratch()
            path = self._scratch.path / name
        free = str(checked(path))
        # QEMU deletes what is at the path, be it a file or the socket of another server.
        if os.path.lexists(free):
            raise UsageError(f"{free!r} is taken")
        return free

    def note(self, path: str) -> None:
        """Remember what QEMU has made at a path."""
        self._numbers[path] = _number_at(path)

    async def remove(self, path: str) -> None:
        """Remove what QEMU has made at a path, if it is left. May be repeated."""
        number = self._numbers.pop(path, None)
        if self._home.is_here and number is not None and number == _number_at(path):
            if isinstance(number, tuple):
                _unlink(path)
            else:
                await _unmount(path)

    async def remove_all(self) -> None:
        """Remove what is left at all paths, and the directory."""
        for path in list(self._numbers):
            await self.remove(path)
        self.remove_directory()

    def remove_directory(self) -> None:
        """Remove the directory. May be repeated."""
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None


_Number = bytes | tuple[int, int] | None
"""The number of a mount, or those of an inode and its device."""


def _number_at(path: str) -> _Number:
    mount = _mount_at(path)
    if mount is not None:
        return mount
    with contextlib.suppress(OSError):
        status = Path(path).lstat()
        return status.st_dev, status.st_ino
    return None


def _mount_at(path: str) -> bytes | None:
    found = None
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        number, _, _, _, where, *_ = line.split(b" ")
        if _ESCAPE.sub(lambda code: bytes([int(code[1], 8)]), where) == os.fsencode(path):
            found = number  # the last one lies on top
    return found


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


async def _unmount(path: str) -> None:
    for command in _UNMOUNT:
        with contextlib.suppress(BlockSdkError):
            await run(command, [path], timeout=_PATIENCE)
            return
