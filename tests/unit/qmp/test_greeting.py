"""Greeting and negotiation with peers that do not behave like QEMU."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.errors import CommandError, ConnectionLost, DeadlineExceeded
from qemu_blocksdk.testing import ReplayServer
from tests.unit.qmp.fake_server import Message, greeting, line

pytestmark = pytest.mark.timeout(10)

GREETING = line(greeting())


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the client's socket, which connect() takes over, and the peer's."""
    ours, theirs = socket.socketpair()
    with theirs, ours:
        yield ours, theirs


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\n",
        b"\xff\xfe\x00\n",
        b"\x00" * 100 + b"\n",
        b"[]\n",
        b"17\n",
        b'"QMP"\n',
        b"{}{}\n",
        b'{"QMP": 1} trailing\n',
        b'{"QMP": \n',
        b"[" * 100_000 + b"\n",
        b'{"a":' * 20_000 + b"\n",
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
def test_garbage_instead_of_a_greeting_is_a_lost_connection(
    ends: tuple[socket.socket, socket.socket], garbage: bytes
) -> None:
    ours, theirs = ends
    theirs.sendall(garbage)
    with pytest.raises(ConnectionLost) as caught:
        Qmp.connect(ours, timeout=5)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"QMP": None},
        {"QMP": []},
        {"QMP": {"version": {}, "capabilities": []}},
        {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}},
        {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}}},
        {"QMP": {"version": {"qemu": [7, 2, 0]}, "capabilities": ["oob"]}},
        {"QMP": {"version": "7.2.0", "capabilities": ["oob"]}},
    ],
    ids=str,
)
def test_an_object_that_is_no_greeting_is_a_lost_connection(
    ends: tuple[socket.socket, socket.socket], message: dict[str, object]
) -> None:
    ours, theirs = ends
    theirs.sendall(line(message))
    with pytest.raises(ConnectionLost, match="greeting") as caught:
        Qmp.connect(ours, timeout=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, len(GREETING) // 2, len(GREETING) - 1])
def test_a_part_of_a_greeting_and_silence_is_given_up_in_time(
    ends: tuple[socket.socket, socket.socket], length: int
) -> None:
    ours, theirs = ends
    theirs.sendall(GREETING[:length])
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="greeting") as caught:
        Qmp.connect(ours, timeout=0.2)
    assert 0.15 < time.monotonic() - begin < 2
    assert caught.value.seconds == 0.2
    assert theirs.recv(10) == b""  # and the socket that it took over is closed


@pytest.mark.parametrize("length", [0, 1, len(GREETING) // 2, len(GREETING) - 1])
def test_a_part_of_a_greeting_and_the_end_is_a_lost_connection(
    ends: tuple[socket.socket, socket.socket], length: int
) -> None:
    ours, theirs = ends
    theirs.sendall(GREETING[:length])
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLost):
        Qmp.connect(ours, timeout=5)


def test_a_peer_that_does_not_answer_the_negotiation_is_given_up_in_time(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    theirs.sendall(GREETING)
    with pytest.raises(DeadlineExceeded):
        Qmp.connect(ours, timeout=0.2)


def test_a_peer_that_refuses_the_negotiation_says_why(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    error: Message = {"class": "GenericError", "desc": "not you"}
    theirs.sendall(GREETING)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(Qmp.connect, ours, timeout=5)
        request = json.loads(theirs.recv(1000))
        theirs.sendall(line({"error": error, "id": request["id"]}))
        with pytest.raises(CommandError, match="not you"):
            connecting.result(timeout=5)


def test_an_error_without_an_id_is_in_the_message_of_a_negotiation_that_was_given_up(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    theirs.sendall(GREETING + line({"error": {"class": "GenericError", "desc": "not JSON"}}))
    with pytest.raises(DeadlineExceeded, match="not JSON"):
        Qmp.connect(ours, timeout=0.1)


@pytest.mark.parametrize("reply", ["return", "error"])
def test_a_reply_and_no_greeting_is_given_up_in_time(
    ends: tuple[socket.socket, socket.socket], reply: str
) -> None:
    ours, theirs = ends
    theirs.sendall(line({reply: {"class": "GenericError", "desc": "no"}}))
    with pytest.raises(DeadlineExceeded, match="greeting"):
        Qmp.connect(ours, timeout=0.2)


def test_a_cancelled_connect_closes_the_socket(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends

    async def main() -> None:
        connecting = asyncio.create_task(AsyncQmp.connect(ours))
        await asyncio.wait((connecting,), timeout=0.05)
        connecting.cancel()
        await asyncio.wait((connecting,))
        assert connecting.cancelled()

    asyncio.run(main())
    theirs.settimeout(5)
    assert theirs.recv(10) == b""


def test_the_version_is_that_of_the_greeting() -> None:
    with ReplayServer([], version=(5, 2, 1)) as server, Qmp.connect(server.address) as qmp:
        assert qmp.version == (5, 2, 1)
        assert qmp.is_connected
    assert not qmp.is_connected


@pytest.mark.parametrize(
    "early",
    [
        {"event": "RESUME"},
        {"return": {}},  # QEMU 11.1: a late reply to the client before, which gave no id
        {"return": {}, "id": 7},
        {"error": {"class": "GenericError", "desc": "no"}, "id": "theirs"},
    ],
    ids=str,
)
def test_what_comes_before_the_greeting_does_no_harm(
    ends: tuple[socket.socket, socket.socket], early: Message
) -> None:
    ours, theirs = ends
    theirs.sendall(line(early) + GREETING)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(Qmp.connect, ours, timeout=5)
        request = json.loads(theirs.recv(1000))
        assert request["execute"] == "qmp_capabilities"
        theirs.sendall(line({"event": "RESUME"}, {"return": {}, "id": request["id"]}))
        with connecting.result(timeout=5) as qmp:
            assert qmp.version == (7, 2, 0)
