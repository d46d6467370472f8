"""Connecting to addresses, and how errors show them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from qemu_blocksdk.qmp.address import address_text, connect


def _listening() -> tuple[socket.socket, int]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, server.getsockname()[1]


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    server, port = _listening()
    nobody, closed = _listening()
    nobody.close()

    def addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        return [(*kind, ("127.0.0.1", number)) for number in (closed, port)]

    async def main() -> None:
        # As localhost, which may be ::1 first, where nobody listens.
        monkeypatch.setattr(socket, "getaddrinfo", addresses)
        with await connect(("somewhere", port)) as found:
            assert found.getpeername() == ("127.0.0.1", port)

    with server:
        asyncio.run(main())


def test_the_last_refusal_is_what_is_told() -> None:
    nobody, closed = _listening()
    nobody.close()
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connect(("127.0.0.1", closed)))


def test_an_address_is_named_as_a_person_would() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert address_text(ours) == "the socket given"
    assert address_text(("host", 1)) == "host:1"
    assert address_text("/run/qmp.sock") == "/run/qmp.sock"
