"""What exports are in the file system, and what a QEMU that is killed leaves of them there.

That is sockets and mounts. A socket is known by its inode and a mount by being dead, so what
somebody else has put at the path since is never removed. A file system that QEMU serves may hang:
only another process asks it anything.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from qemu_blocksdk.errors import BlockSdkError, ToolError, UsageError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.tools.listening_socket import checked, inode
from qemu_blocksdk.tools.mounts import is_mount_point
from qemu_blocksdk.tools.run import run
from qemu_blocksdk.tools.socket_directory import SocketDirectory

_PATIENCE = 1.0
_UNMOUNT = (("fusermount3", "-u", "-z"), ("umount", "--lazy", "--no-canonicalize"))


class FileCleanup:
    """The sockets and mounts of one QEMU's exports, and a directory for its sockets."""

    def __init__(self) -> None:
        self._sockets: dict[str, tuple[int, int] | None] = {}
        self._mounts = set[str]()
        self._socket_directory: SocketDirectory | None = None
        self._guard = background_loop.process_guard

    def new_socket(self, path: str | os.PathLike[str] | None, *, name: str) -> str:
        """Return the path of a socket to be; by default of that ``name`` in the directory.

        Raises UsageError for one that is too long or taken.
        """
        if path is None:
            self._socket_directory = self._socket_directory or SocketDirectory()
            path = self._socket_directory.path / name
        free = str(checked(path))
        # QEMU deletes what is at the path, be it a file or the socket of another server.
        if os.path.lexists(free):
            raise UsageError(f"{free!r} is taken")
        return free

    def note_socket(self, path: str) -> None:
        """Remember a socket that QEMU has made."""
        self._sockets[path] = inode(path)

    def note_mount(self, path: str) -> None:
        """Remember that QEMU has mounted something."""
        self._mounts.add(path)

    async def remove(self, path: str) -> None:
        """Remove what QEMU has made at a path, if it is left. May be repeated."""
        if not self._guard.is_here:
            return
        made = self._sockets.pop(path, None)
        if made is not None and made == inode(path):
            _unlink(path)
        if path in self._mounts and is_mount_point(path):
            if await _may_be_alive(path):
                return
            await _unmount(path)
        self._mounts.discard(path)

    async def remove_all(self) -> None:
        """Remove what is left at all paths, and the directory."""
        for path in (*self._sockets, *self._mounts):
            await self.remove(path)
        self.remove_directory()

    def remove_directory(self) -> None:
        """Remove the directory. May be repeated."""
        if self._socket_directory is not None:
            self._socket_directory.remove()
            self._socket_directory = None


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


async def _may_be_alive(path: str) -> bool:
    try:
        await run(("stat",), [path], timeout=_PATIENCE)
    except ToolError:
        return False
    except BlockSdkError:
        pass  # it hangs, or nobody can tell
    return True


async def _unmount(path: str) -> None:
    for command in _UNMOUNT:
        with contextlib.suppress(BlockSdkError):
            await run(command, [path], timeout=_PATIENCE)
            return
