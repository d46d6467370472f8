"""The flush of an export: what it brings to the image, and what stands in its way."""

from __future__ import annotations

import asyncio
import shutil
import socket
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
        daemon.add_node(source.options("source")).backup(node).run(timeout=10)
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
