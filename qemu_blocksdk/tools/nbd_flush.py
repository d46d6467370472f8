"""The one NBD request that qemu-io does not send: to flush an export that it may only read.

Spoken by hand, because what is behind a read-only export may be written by others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct

from qemu_blocksdk.errors import ConnectionLost, UsageError
from qemu_blocksdk.qmp.deadline import within

from .nbd import NbdUri

_FLAGS = 0b11  # fixed newstyle, no zeroes
_OPT_EXPORT_NAME = 1
_CMD_FLUSH = 3
_CAN_FLUSH = 0b100
_REQUEST = 0x25609513
_REPLY = 0x67446698
_HANDLE = 0x626C6F636B73646B


async def nbd_flush(uri: NbdUri, *, timeout: float = 30.0) -> None:
    """Have the server of an export write what it holds in memory of it.

    Raises UsageError for a server with TLS, ConnectionLost when it cannot be reached, does not
    speak NBD, knows no such export, or cannot write, DeadlineExceeded.
    """
    if uri.tls:
        raise UsageError(f"{uri} wants TLS, which is not spoken here")
    async with within(timeout, f"the flush of {uri}"):
        try:
            code = await _ask(uri)
        except (OSError, EOFError, _NotNbd) as error:
            raise ConnectionLost(f"cannot flush {uri}: {error}") from error
    if code:
        raise ConnectionLost(f"cannot flush {uri}: the server says {os.strerror(code)}")


async def _ask(uri: NbdUri) -> int:
    """Flush, and return the server's error number."""
    if isinstance(uri.address, tuple):
        reader, writer = await asyncio.open_connection(*uri.address)
    else:
        reader, writer = await asyncio.open_unix_connection(uri.address)
    with contextlib.closing(writer):
        name = uri.export.encode()
        begin, options, offered = struct.unpack(">8s8sH", await reader.readexactly(18))
        if (begin, options) != (b"NBDMAGIC", b"IHAVEOPT"):
            raise _NotNbd("what answers is no NBD server of the newstyle")
        if offered & _FLAGS != _FLAGS:
            raise _NotNbd("the NBD server is too old: it does not offer a fixed newstyle")
        writer.write(struct.pack(">I8sII", _FLAGS, b"IHAVEOPT", _OPT_EXPORT_NAME, len(name)))
        writer.write(name)
        _, can = struct.unpack(">QH", await reader.readexactly(10))  # the size, the flags
        if not can & _CAN_FLUSH:
            raise _NotNbd("the server does not offer to flush this export")
        writer.write(struct.pack(">IHHQQI", _REQUEST, 0, _CMD_FLUSH, _HANDLE, 0, 0))
        magic, code, handle = struct.unpack(">IIQ", await reader.readexactly(16))
        if (magic, handle) != (_REPLY, _HANDLE):
            raise _NotNbd("the server's reply is none to this request")
    return int(code)


class _NotNbd(Exception):
    """What came is not what the protocol says."""
