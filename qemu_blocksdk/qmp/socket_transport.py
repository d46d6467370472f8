"""QMP over a socket of our own: the fastest transport, and the only one of the blocking face.

Every command carries an id. A reply whose id nobody waits for is dropped: it belongs to a command
that was given up (cancelled, timed out), here or by the client before us. A thread that makes a
blocking call reads its reply itself (``line_socket``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import math
import queue
import secrets
from collections import deque
from collections.abc import Callable
from typing import cast

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import (
    BlockSdkError,
    ConnectionLost,
    DeadlineExceeded,
    Unsupported,
    UsageError,
)

from . import background_loop
from .address import Address, address_text, assert_address, connect, is_qemu
from .deadline import Deadline, within
from .line_socket import MAX_MESSAGE, LineSocket
from .messages import MessageLog, OnMessage, parse, request_bytes, result
from .transport import Peer, QemuVersion, fresh

_log = logging.getLogger(__name__)


class SocketTransport:
    """A :class:`~qemu_blocksdk.qmp.transport.Transport` over a connected stream socket.

    ``process`` is the process behind the address, where it is known: an error that ends the
    connection then has its exit status and the last of its output.
    """

    def __init__(
        self, address: Address, *, process: Peer | None = None, on_message: OnMessage | None = None
    ) -> None:
        assert_address(address)
        self._address = address
        self._process = process
        self._messages = MessageLog(on_message)
        self._has_oob = False
        # QEMU reads byte by byte and needs no newline; stubs and proxies read lines.
        self._ends_lines = True
        self._greeting: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._ids = CommandIds()
        self._pending: dict[int, Callable[[JsonObject | BlockSdkError], None]] = {}
        self._error: BlockSdkError | None = None
        self._unclaimed_error = ""
        self._pretty = bytearray()
        self._fd_lock = asyncio.Lock()
        self._exit_status: asyncio.Task[int | None] | None = None
        self._socket: LineSocket | None = None
        self._on_event: Callable[[JsonObject], None]
        self._on_end: Callable[[], None]

    @property
    def process(self) -> Peer | None:
        """The process behind the connection; None where it is not known."""
        return self._process

    @property
    def error(self) -> BlockSdkError | None:
        """Why the connection has ended, as an exception to raise; None while it is open."""
        return None if self._error is None else fresh(self._error)

    # -- begin and end --------------------------------------------------------------------

    async def open(
        self,
        *,
        on_event: Callable[[JsonObject], None],
        on_end: Callable[[], None],
        timeout: float,
    ) -> QemuVersion:
        """Connect, read the greeting and negotiate capabilities. See ``Transport.open``."""
        self._on_event, self._on_end = on_event, on_end
        where = address_text(self._address)
        try:
            async with asyncio.timeout(timeout):
                sock = await connect(self._address)
                self._socket = LineSocket(sock, on_line=self._on_line, on_lost=self._on_lost)
                version = await self._negotiate()
                pid = None if self._process is None else self._process.pid
                self._ends_lines = not is_qemu(sock, pid)
        except TimeoutError as error:
            hint = self._hint
            if self._greeting.cancelled() and not hint:
                hint = " (another client may hold this monitor)"
            what = f"a QMP greeting from {where}{hint}"
            raise DeadlineExceeded(what, seconds=timeout) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in a path, a host of 64 letters
            raise ConnectionLost(f"cannot connect to {where}: {error}") from error
        return version

    async def _negotiate(self) -> QemuVersion:
        greeting = await self._greeting
        try:
            qmp = cast("dict[str, JsonValue]", greeting["QMP"])
            version = cast("dict[str, dict[str, int]]", qmp["version"])["qemu"]
            found = version["major"], version["minor"], version["micro"]
            self._has_oob = "oob" in cast("list[str]", qmp["capabilities"])
        except (KeyError, TypeError) as error:
            raise ConnectionLost(f"the peer's greeting is none of QMP: {greeting}") from error
        enable: JsonObject = {"enable": ["oob"]} if self._has_oob else {}
        await self.execute("qmp_capabilities", enable, Deadline(None))
        return found

    def close(self) -> None:
        """Close the socket; commands in flight fail with ConnectionLost. May be repeated."""
        if self._socket is not None:
            self._socket.close()
        self._fail(ConnectionLost("the connection was closed"))

    def _on_lost(self, reason: str) -> None:
        """Fail the commands in flight, with the exit status and output of a process that died."""

        def fail(status: asyncio.Task[int | None]) -> None:  # called also where the loop ends
            output = "" if self._process is None else self._process.output_tail()
            ended = None if status.cancelled() else status.result()
            what = f"connection lost: {reason}"
            self._fail(ConnectionLost(what, exit_status=ended, output=output))
            self._on_end()

        self._exit_status = asyncio.ensure_future(self._wait_exit_status())
        self._exit_status.add_done_callback(fail)

    async def _wait_exit_status(self) -> int | None:
        if self._process is not None:
            with contextlib.suppress(DeadlineExceeded):
                # The socket closes a moment before the process can be waited for.
                return await self._process.wait(timeout=0.05)
        return None

    def _fail(self, error: BlockSdkError) -> None:
        """Fail the commands in flight; keep the first error as the reason of the end."""
        if self._error is None:
            self._error = error
        if not self._greeting.done():
            self._greeting.set_exception(fresh(error))
            self._greeting.exception()
        for deliver in list(self._pending.values()):
            deliver(error)

    # -- commands ---------------------------------------------------------------------------

    async def execute(
        self,
        name: str,
        arguments: JsonObject,
        deadline: Deadline,
        *,
        oob: bool = False,
        fd: int | None = None,
    ) -> JsonValue:
        """Send a command; return the value of its reply. See ``Transport.execute``."""
        if fd is not None:
            # QEMU keeps the descriptor that came last, so the next waits for this reply.
            async with within(deadline, f"the reply to {name}"), self._fd_lock:
                await self.send_fd(fd)
                return await self.execute(name, arguments, Deadline(None), oob=oob)
        loop = self._connected().loop
        if asyncio.get_running_loop() is not loop:
            raise UsageError("this connection belongs to another event loop")
        reply: asyncio.Future[JsonObject] = loop.create_future()
        expiry = None
        if deadline.seconds != math.inf:
            expiry = loop.call_later(deadline.left(), self._expire, reply, name, deadline)
        ident, is_answered = self._ids.new(), True
        try:
            self._pending[ident] = functools.partial(_resolve, reply)
            message = self._request(name, arguments, ident, oob)
            is_answered = False
            self._send(message, name)
            answer = await reply
            is_answered = True
        finally:
            self._settle(ident, is_answered=is_answered)
            if expiry is not None:
                expiry.cancel()
        return result(answer, name, arguments)

    def execute_from_thread(
        self, name: str, arguments: JsonObject, deadline: Deadline, *, oob: bool = False
    ) -> JsonValue:
        """Send a command and read its reply in the calling thread, which is not the loop's."""
        reply: JsonObject | BlockSdkError | None = None
        ident, is_answered = self._ids.new(), True

        def is_reply(line: bytes) -> bool:
            nonlocal reply
            try:
                message = self._parse(line)
            except (ValueError, RecursionError):
                return False  # the loop says what is wrong
            if message.get("id") != ident or "event" in message:
                return False
            reply = message
            return True

        mailbox: queue.SimpleQueue[JsonObject | BlockSdkError] = queue.SimpleQueue()
        try:
            self._pending[ident] = mailbox.put
            message = self._request(name, arguments, ident, oob)
            is_answered = False
            self._connected().exchange(
                message,
                is_reply=is_reply,
                deadline=deadline,
                # One thread shows all messages to ``on_message``, in their order.
                send_in_loop=None
                if self._messages.on_message is None
                else functools.partial(self._send, message, name),
            )
            if reply is None:
                reply = self._wait(mailbox, name, deadline)
            is_answered = True
        finally:
            self._settle(ident, is_answered=is_answered)
        if isinstance(reply, BlockSdkError):
            raise fresh(reply)
        return result(reply, name, arguments)

    async def send_fd(self, fd: int) -> None:
        """Pass QEMU a copy of an open descriptor. See ``Transport.send_fd``."""
        try:
            await self._connected().send_fd(fd)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot pass descriptor {fd}: {error}") from error

    def _connected(self) -> LineSocket:
        if self._socket is None:
            raise UsageError("this transport has not been opened")
        return self._socket

    def _request(self, name: str, arguments: JsonObject, ident: int, oob: bool) -> bytes:
        """Return the encoded request of a command, and log it."""
        if self._error is not None:
            raise fresh(self._error)
        if oob and not self._has_oob:
            raise Unsupported("out-of-band execution")
        message = request_bytes(name, arguments, ident, oob=oob)
        self._messages.log_command(name, arguments, ident)
        return message + b"\n" if self._ends_lines else message

    def _settle(self, ident: int, *, is_answered: bool) -> None:
        self._pending.pop(ident, None)
        self._ids.settle(ident, is_answered=is_answered)
        if is_answered:
            self._messages.forget(ident)

    def _wait(
        self,
        mailbox: queue.SimpleQueue[JsonObject | BlockSdkError],
        name: str,
        deadline: Deadline,
    ) -> JsonObject | BlockSdkError:
        while True:
            left = deadline.left()
            try:
                return mailbox.get(timeout=min(left, background_loop.SIGNAL_POLL))
            except queue.Empty:
                if left <= background_loop.SIGNAL_POLL:
                    raise self._late(name, deadline) from None
                background_loop.ensure_running()

    @property
    def _hint(self) -> str:
        """What to add to the error of an expired wait: empty, or in parentheses."""
        # The error of QEMU's parser has no id, so it may be about the command.
        error = self._unclaimed_error
        return f" (QEMU could not read a message: {error})" if error else ""

    def _late(self, name: str, deadline: Deadline) -> DeadlineExceeded:
        return deadline.exceeded(f"the reply to {name}{self._hint}")

    def _expire(self, reply: asyncio.Future[JsonObject], name: str, deadline: Deadline) -> None:
        if not reply.done():
            reply.set_exception(self._late(name, deadline))

    def _send(self, message: bytes, name: str) -> None:
        # Before the command is sent: its reply may be read before the loop's next turn.
        if self._messages.on_message is not None:
            self._messages.show_command(parse(message), name)
        self._connected().send(message)

    # -- what arrives -----------------------------------------------------------------------

    def _on_line(self, line: bytes) -> None:
        if self._pretty or line.rstrip() == b"{":
            # A monitor with pretty=on: the first and the last line are a brace alone.
            self._pretty += line + b"\n"
            if line.rstrip() != b"}" and len(self._pretty) <= MAX_MESSAGE:
                return
            line = bytes(self._pretty)
            self._pretty.clear()
        try:
            message = self._parse(line)
        except ValueError:
            self._connected().close()
            self._on_lost(f"the peer does not speak QMP: it sent {line[:80]!r}")
            return
        self._messages.show_received(message)
        if "event" in message:
            self._on_event(message)
        # QEMU 11.1: a late reply to the client before may come even before the greeting.
        elif not self._greeting.done() and not message.keys() & {"return", "error"}:
            self._greeting.set_result(message)
        else:
            self._on_reply(message)

    def _on_reply(self, message: JsonObject) -> None:
        ident = message.get("id")
        if type(ident) is int:
            deliver = self._pending.get(ident)
            if deliver is not None:
                deliver(message)
                return
            self._ids.settle_late(ident)
            self._messages.forget(ident)
        _log.debug("dropped a reply with an unknown id: %r", ident)
        error = message.get("error")
        if ident is None and isinstance(error, dict):
            self._unclaimed_error = str(error.get("desc"))[:200]

    def _parse(self, line: bytes) -> JsonObject:
        message = parse(line)
        self._messages.log_received(message)
        return message


def _resolve(reply: asyncio.Future[JsonObject], message: JsonObject | BlockSdkError) -> None:
    if reply.done():
        return
    if isinstance(message, BlockSdkError):
        reply.set_exception(fresh(message))
    else:
        reply.set_result(message)


_SHORT = 10
_LONG = 16
_LEAST_LONG = 10**8


class CommandIds:
    """Ids of the commands of one connection. Safe from any thread.

    Every command carries one, because QEMU gives the reply to a client that has left to the next
    client. The first ids are random, so that such a reply matches none: QEMU sends it before the
    reply to the negotiation. After them, short numbers are used again and again, because QEMU
    reads its monitor byte by byte, at some 2 us each.
    """

    def __init__(self) -> None:
        first = _LEAST_LONG + secrets.randbelow(9 * _LEAST_LONG)
        self._free: deque[int] = deque([*range(first, first + _LONG), *range(_SHORT)])
        self._more = itertools.count(_SHORT)
        self._given_up: set[int] = set()

    def new(self) -> int:
        """Return the id of a new command."""
        try:
            return self._free.popleft()
        except IndexError:
            return next(self._more)

    def settle(self, ident: int, *, is_answered: bool) -> None:
        """Free the id: at once, or once its late reply has arrived."""
        if not is_answered:
            self._given_up.add(ident)
        elif ident < _LEAST_LONG:
            self._free.append(ident)

    def settle_late(self, ident: int) -> None:
        """Free the id of a late reply; the reply may belong to another client."""
        if ident in self._given_up:
            self._given_up.remove(ident)
            self.settle(ident, is_answered=True)
