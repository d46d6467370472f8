"""Addresses of QMP servers, and connecting to them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, cast

from qemu_blocksdk.errors import UsageError

from .threads import run_in_thread

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

Address = str | os.PathLike[str] | tuple[str, int] | socket.socket
"""A unix socket's path, a TCP host and port, or a connected socket (which is taken over)."""


def assert_address(value: object) -> None:
    """Raise UsageError for a value that is no address."""
    if not isinstance(value, str | os.PathLike | tuple | socket.socket):
        raise UsageError(
            f"{value!r} is no address: give the path of a unix socket, (host, port) or a connected"
            " socket; AsyncQmp.over() takes a QMPClient"
        )


_CREDENTIALS = struct.Struct("3i")


async def connect(address: Address) -> socket.socket:
    """Return a socket connected to the address. Raises OSError, ValueError."""
    if isinstance(address, socket.socket):
        return address
    if not isinstance(address, tuple):
        return await _connect_to(socket.AF_UNIX, os.fspath(address))
    # A name such as localhost has several addresses; a server may listen on any of them.
    look_up = functools.partial(socket.getaddrinfo, *address, type=socket.SOCK_STREAM)
    *others, last = await run_in_thread(look_up)
    for family, *_, target in others:
        with contextlib.suppress(OSError):
            return await _connect_to(family, target)
    return await _connect_to(last[0], last[4])


async def _connect_to(family: int, target: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, cast("str", target))
    except BaseException:
        sock.close()
        raise
    return sock


def address_text(address: Address | QMPClient) -> str:
    """Return an address, or a client, as an error names it."""
    if isinstance(address, socket.socket):
        return "the socket given"
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    if isinstance(address, str | os.PathLike):
        return os.fspath(address)
    name = getattr(address, "name", None)
    return f"the QMPClient {name}" if name else "the QMPClient given"


def is_qemu(sock: socket.socket, pid: int | None = None) -> bool:
    """Return whether the process at the other end of a socket is a QEMU; False if unknown.

    ``pid`` is the id of that process, where the caller has started it.
    """
    try:
        if pid is None:
            pid = _CREDENTIALS.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )[0]
        return Path(f"/proc/{pid}/exe").readlink().name.startswith("qemu-")
    except OSError:
        return False
