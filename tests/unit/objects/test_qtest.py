"""The qtest channel against a peer that answers as one likes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from qemu_blocksdk.errors import CommandError, ConnectionLost, DeadlineExceeded, UsageError
from qemu_blocksdk.objects.qtest import Qtest

pytestmark = pytest.mark.timeout(10)


async def _answered(answer: bytes, command: str = "clock_step", *, timeout: float = 5) -> str:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        try:
            return await Qtest(ours).ask(command, timeout=timeout)
        finally:
            assert theirs.recv(100) == f"{command}\n".encode()


def test_the_reply_is_what_follows_ok() -> None:
    assert asyncio.run(_answered(b"OK 100\n")) == "100"
    assert asyncio.run(_answered(b"OK\n")) == ""


def test_interrupts_in_between_are_skipped() -> None:
    assert asyncio.run(_answered(b"IRQ raise 1\nIRQ lower 1\nOK 7\n")) == "7"


def test_a_refusal_is_an_error_in_qemus_words() -> None:
    with pytest.raises(CommandError, match="qtest: Unknown command") as caught:
        asyncio.run(_answered(b"FAIL Unknown command 'x'\n"))
    assert caught.value.error_class == "FAIL"


def test_a_peer_that_ends_is_a_lost_connection() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            channel = Qtest(ours)
            theirs.close()
            for _ in range(2):
                with pytest.raises(ConnectionLost):
                    await channel.ask("clock_step", timeout=5)

    asyncio.run(main())


def test_after_a_command_that_was_given_up_no_reply_is_taken_for_anothers() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel = Qtest(ours)
            with pytest.raises(DeadlineExceeded):
                await channel.ask("slow", timeout=0.05)
            theirs.sendall(b"OK slow\n")
            with pytest.raises(ConnectionLost, match="given up"):
                await channel.ask("quick", timeout=5)

    asyncio.run(main())


@pytest.mark.parametrize("command", ["", " ", "a\nb"])
def test_what_is_not_one_line_is_refused(command: str) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(UsageError, match="not one line"):
            await Qtest(ours).ask(command, timeout=5)

    asyncio.run(main())
