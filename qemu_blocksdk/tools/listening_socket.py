"""Listening sockets for a child to inherit, and how one learns that an NBD server serves.

For that, the first client in the queue is ours, and has said good-bye before the server is started:
its connection ends when the server begins to serve, or when the server ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import struct
import weakref
from pathlib import Path
from typing import Self, cast

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.threads import run_in_thread
from qemu_blocksdk.tools.nbd import NbdAddress
from qemu_blocksdk.tools.run import as_file

_MAX_PATH = 107
_GREETING = b"NBDMAGIC"
# A client's flags in the fixed newstyle handshake, then the option ABORT without data.
_GOOD_BYE = struct.pack(">I8sII", 0b11, b"IHAVEOPT", 2, 0)


class ListeningSocket:
    """A socket that listens at ``address``; leaving the block closes what is open here of it."""

    def __init__(self, sock: socket.socket, address: str | tuple[str, int]) -> None:
        self.sock = sock
        self.address = address
        self._last_resort = weakref.finalize(
            self, _remove, address, inode(address), background_loop.process_guard
        )

    @classmethod
    async def at(cls, address: str | tuple[str, int]) -> Self:
        """Listen at an address that is :func:`checked`; port 0 becomes a free one.

        Raises OSError, also where a socket's file is left from somebody before.
        """
        if isinstance(address, str):
            listener = cls(_bound(address, socket.AF_UNIX), address)
        else:
            sock = await reserved(address)
            listener = cls(sock, (address[0], sock.getsockname()[1]))
        with contextlib.ExitStack() as undo:
            undo.callback(listener.remove)
            undo.enter_context(listener)
            listener.sock.listen(socket.SOMAXCONN)
            undo.pop_all()
        return listener

    def remove(self) -> None:
        """Delete the socket's file, if it has one. May be repeated."""
        self._last_resort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


class Listener(ListeningSocket):
    """The socket of an NBD server."""

    _client: socket.socket

    @classmethod
    async def at(cls, address: str | tuple[str, int]) -> Self:
        """Do so, and be the first client in the queue."""
        loop = asyncio.get_running_loop()
        listener = await super().at(address)
        with contextlib.ExitStack() as undo:
            undo.callback(listener.remove)
            undo.enter_context(listener.sock)
            listener._client = socket.socket(listener.sock.family, socket.SOCK_STREAM)
            undo.enter_context(listener._client)
            listener._client.setblocking(False)
            await loop.sock_connect(listener._client, listener.sock.getsockname())
            await loop.sock_sendall(listener._client, _GOOD_BYE)
            undo.pop_all()
        return listener

    async def is_served(self) -> bool:
        """Wait until somebody serves, or nobody has the socket any more; tell which."""
        self.sock.close()
        said = b""
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.get_running_loop().sock_recv(self._client, 256):
                said += data
        return said.startswith(_GREETING)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._client.close()


async def reserved(address: tuple[str, int]) -> socket.socket:
    """Return a socket at a TCP address that does not listen; port 0 becomes a free one.

    Until it is closed the port is given to nobody who asks for a free one; who names it and
    sets SO_REUSEADDR, as QEMU does, may listen there. Raises OSError.
    """
    look_up = functools.partial(socket.getaddrinfo, *address, type=socket.SOCK_STREAM)
    family, *_, place = (await run_in_thread(look_up))[0]
    return _bound(place, family)


def _bound(place: object, family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_UNIX:
            os.fchmod(sock.fileno(), 0o700)  # of the file that the kernel is about to make
        sock.bind(cast("str", place))  # whatever is an address in the family
    except OSError:
        sock.close()
        raise
    return sock


def checked(address: NbdAddress) -> str | tuple[str, int]:
    """Return an address as it is used. Raises UsageError for one that cannot be right."""
    if isinstance(address, tuple):
        host, port = address
        if not host or not 0 <= port < 1 << 16:
            raise UsageError(f"{host!r} and {port} are no TCP address to listen at")
        return host, port
    path = as_file(address)
    length = len(os.fsencode(path))
    if length > _MAX_PATH:
        raise UsageError(
            f"{path!r} has {length} bytes: the path of a unix socket has {_MAX_PATH} at most"
        )
    return path


def inode(address: str | tuple[str, int]) -> tuple[int, int] | None:
    """Return what identifies the file at a path, of links the link itself; None for no file."""
    if isinstance(address, str):
        with contextlib.suppress(OSError):
            status = Path(address).lstat()
            return status.st_dev, status.st_ino
    return None


def _remove(
    address: str | tuple[str, int],
    made: tuple[int, int] | None,
    guard: background_loop.ProcessGuard,
) -> None:
    # What somebody else has put there since is not ours.
    if isinstance(address, str) and guard.is_here and made == inode(address):
        with contextlib.suppress(OSError):
            Path(address).unlink()
