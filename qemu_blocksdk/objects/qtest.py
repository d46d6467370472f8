"""The qtest channel of a VM: a line asks, a line answers, interrupts in between are skipped."""

from __future__ import annotations

import asyncio
import socket

from qemu_blocksdk.errors import CommandError, ConnectionLost, UsageError
from qemu_blocksdk.qmp.deadline import within


class Qtest:
    """The channel, on a connected socket that belongs to whoever made it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._buffer = bytearray()
        self._turn = asyncio.Lock()
        self._is_usable = True

    async def ask(self, command: str, *, timeout: float) -> str:
        """Send a line; return what follows ``OK``. As :meth:`AsyncVM.qtest`."""
        if "\n" in command or not command.strip():
            raise UsageError(f"{command!r} is not one line of qtest")
        async with within(timeout, f"the reply to {command!r} of qtest"), self._turn:
            if not self._is_usable:
                raise ConnectionLost("the qtest channel has ended, or a command was given up")
            self._is_usable = False  # a reply that nobody waited for would be taken for the next
            reply = await self._ask(command)
            self._is_usable = True
        verdict, _, words = reply.partition(" ")
        if verdict != "OK":
            raise CommandError(verdict, words, command="qtest", arguments={"line": command})
        return words

    async def _ask(self, command: str) -> str:
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, f"{command}\n".encode())
            while (reply := await self._line()).startswith("IRQ "):
                pass
        except OSError as error:
            raise ConnectionLost(f"the qtest channel has ended: {error}") from error
        return reply

    async def _line(self) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
            if not data:
                raise ConnectionLost("the qtest channel has ended")
            self._buffer += data
        line = self._buffer[:end].decode()
        del self._buffer[: end + 1]
        return line
