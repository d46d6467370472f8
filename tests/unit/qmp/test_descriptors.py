"""Passing descriptors over a socket that is full, that closes, or that is no unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.qmp.line_socket import LineSocket

pytestmark = pytest.mark.timeout(10)


def _link(sock: socket.socket) -> LineSocket:
    return LineSocket(sock, on_line=lambda _: None, on_lost=lambda _: None)


def _received(sock: socket.socket) -> tuple[int, list[int]]:
    """Receive until descriptors arrive; return the number of bytes so far, and the descriptors."""
    so_far = 0
    while True:
        data, fds, *_ = socket.recv_fds(sock, 1 << 16, 4)
        assert data
        so_far += len(data)  # what came before may be in one piece with it
        if fds:
            return so_far, fds


def _fill(sock: socket.socket) -> int:
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(b"x" * 4096, socket.MSG_DONTWAIT)
    return sent


@pytest.mark.parametrize("filled_by", ["the link", "others"])
def test_a_descriptor_waits_behind_what_the_socket_does_not_take(filled_by: str) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        link = _link(ours)
        if filled_by == "others":
            sent = _fill(ours)
        else:
            sent = 1 << 22
            link.send(b"x" * sent)
        passing = asyncio.create_task(link.send_fd(writing))
        await asyncio.wait((passing,), timeout=0.05)
        assert not passing.done()
        received, (copy,) = await asyncio.to_thread(_received, theirs)
        await passing
        assert received > sent
        os.write(copy, b"the same pipe")
        assert os.read(reading, 64) == b"the same pipe"
        link.close()
        theirs.close()
        for fd in (reading, writing, copy):
            os.close(fd)

    asyncio.run(main())


def test_a_descriptor_that_waits_does_not_outlast_the_link() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        link = _link(ours)
        link.send(b"x" * (1 << 22))
        passing = asyncio.create_task(link.send_fd(0))
        await asyncio.sleep(0)
        link.close()
        await asyncio.wait_for(passing, 5)
        await link.send_fd(0)  # the command that goes with it tells of the end
        theirs.close()

    asyncio.run(main())


def test_a_peer_that_has_gone_is_not_told_by_the_descriptor() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        link = _link(ours)
        theirs.close()
        await link.send_fd(0)
        link.close()

    asyncio.run(main())


def test_tcp_takes_no_descriptor() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            link = _link(socket.create_connection(server.getsockname()))
            with pytest.raises(Unsupported, match="unix socket"):
                await link.send_fd(0)
            link.close()

    asyncio.run(main())
