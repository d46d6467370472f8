"""The flush of an export: what it brings to the image, and what stands in its way."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.errors import ConnectionLost, DeadlineExceeded, UsageError
from qemu_blocksdk.tools import NbdUri
from qemu_blocksdk.tools.nbd_flush import nbd_flush
from tests.live.helpers import MakeImage, write_with_qemu_io

pytestmark = pytest.mark.timeout(30)


def test_what_was_written_is_in_the_image_when_it_was_flushed(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    path = make_image()
    node = daemon.add_node(Image(path, format="qcow2").options("disk"))
    copy = tmp_path / "now.qcow2"  # as it would be found after a crash
    source = Image(make_image("source.qcow2", write="-P 7 1M 1M"), format="qcow2")
    with daemon.start_nbd_server() as server, server.export(node) as export:
        daemon.add_node(source.options("source")).backup(node, timeout=10)
        shutil.copy(path, copy)
        with pytest.raises(AssertionError, match="verification failed"):
            write_with_qemu_io(copy, "read -P 7 1M 1M")
        asyncio.run(nbd_flush(export.uri))
        shutil.copy(path, copy)
    write_with_qemu_io(copy, "read -P 7 1M 1M")


def test_an_export_that_is_not_there_is_told(daemon: StorageDaemon) -> None:
    with daemon.start_nbd_server() as server:
        address = server.address
        assert not isinstance(address, tuple)
        with pytest.raises(ConnectionLost, match="cannot flush nbd"):
            asyncio.run(nbd_flush(NbdUri(address=str(address), export="nowhere")))
    with pytest.raises(ConnectionLost, match="No such file"):
        asyncio.run(nbd_flush(NbdUri(address=str(address))))


_HELLO = b"NBDMAGICIHAVEOPT\0\3"
_EXPORT = struct.pack(">QH", 1 << 20, 0b101)


def _reply(*, magic: int = 0x67446698, handle: int | None = None) -> Callable[[bytes], bytes]:
    """What a server answers to a request."""

    def reply(request: bytes) -> bytes:
        (asked,) = struct.unpack(">8xQ12x", request[-28:])
        return struct.pack(">IIQ", magic, 0, asked if handle is None else handle)

    return reply


@pytest.mark.parametrize(
    ("hello", "export", "reply", "problem"),
    [
        (b"QEMUMAGICIHAVEOPT\0\3", _EXPORT, _reply(), "no NBD server"),
        (b"NBDMAGIC" + bytes(10), _EXPORT, _reply(), "no NBD server"),
        (b"NBDMAGICIHAVEOPT\0\1", _EXPORT, _reply(), "too old"),
        (_HELLO, struct.pack(">QH", 1, 1), _reply(), "does not offer to flush"),
        (_HELLO, _EXPORT, _reply(magic=0), "none to this request"),
        (_HELLO, _EXPORT, _reply(magic=0x668E33EF), "none to this request"),
        (_HELLO, _EXPORT, _reply(handle=0), "none to this request"),
        (_HELLO, _EXPORT, _reply(), None),
    ],
)
def test_only_the_reply_to_the_flush_counts(
    tmp_path: Path,
    hello: bytes,
    export: bytes,
    reply: Callable[[bytes], bytes],
    problem: str | None,
) -> None:
    path = tmp_path / "nbd.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(EOFError, ConnectionError):
            writer.write(hello)
            await reader.readexactly(20)
            writer.write(export)
            writer.write(reply(await reader.readexactly(28)))

    async def flush() -> None:
        async with await asyncio.start_unix_server(serve, path):
            await nbd_flush(NbdUri(address=str(path)), timeout=5)

    if problem is None:
        asyncio.run(flush())
    else:
        with pytest.raises(ConnectionLost, match=problem):
            asyncio.run(flush())
    path.unlink(missing_ok=True)  # Python 3.13 does so itself


def test_tls_is_refused_and_a_silent_server_not_waited_for_ever(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TLS"):
        asyncio.run(nbd_flush(NbdUri(address=("localhost", 1), tls=True)))

    path = tmp_path / "silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(DeadlineExceeded, match="the flush of nbd"):
            asyncio.run(nbd_flush(NbdUri(address=str(path)), timeout=0.05))
    path.unlink()
