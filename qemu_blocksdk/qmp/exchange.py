"""The messages of one connection: commands in flight, their replies, what else comes.

A command is identified by its id, so one that was given up (cancelled, timed out)
confuses nothing: its reply is dropped when it comes. What a message means is no business
of this module; ``connection`` makes a session of it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import queue
import socket
import threading
import time
from collections.abc import Callable

from qemu_blocksdk.codec import JsonObject, JsonValue, redact
from qemu_blocksdk.errors import (
    BlockSdkError,
    ConnectionLost,
    DeadlineExceeded,
    Unsupported,
    UsageError,
)

from .ids import Ids
from .link import Link
from .message import OnMessage, dumps, parse, request_line, result, shown, with_id

_log = logging.getLogger(__name__)


class Exchange:
    """Commands and replies over a connected socket; made in the event loop that reads it.

    ``on_event`` is called with each event, ``on_lost`` once, with the reason, when nothing more
    will come; the owner then says with what error to :meth:`fail`.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_event: Callable[[JsonObject], None],
        on_lost: Callable[[str], None],
        on_message: OnMessage | None,
    ) -> None:
        self.has_oob = False
        self.greeting: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._on_event, self._on_lost, self._on_message = on_event, on_lost, on_message
        self._ids = Ids()
        self._pending: dict[str, Callable[[JsonObject | BlockSdkError], None]] = {}
        self._error: BlockSdkError | None = None
        self._link = Link(sock, on_line=self._on_line, on_lost=on_lost)

    @property
    def error(self) -> BlockSdkError | None:
        """What ended the exchange, to be raised; None while it goes on."""
        return None if self._error is None else _again(self._error)

    def fail(self, error: BlockSdkError) -> None:
        """End all that waits with an error, the first that there was."""
        if self._error is None:
            self._error = error
        if not self.greeting.done():
            self.greeting.set_exception(_again(error))
            self.greeting.exception()
        for deliver in list(self._pending.values()):
            deliver(error)

    def close(self) -> None:
        """Close the socket. May be repeated."""
        self._link.close()

    async def pass_fd(self, fd: int) -> None:
        """Pass a descriptor to the peer, for the command that is sent next. Raises OSError."""
        await self._link.pass_fd(fd)

    def _request(self, name: str, arguments: JsonObject, oob: bool) -> tuple[str, bytes]:
        """Return the id of a new command and the encoded request."""
        if self._error is not None:
            raise _again(self._error)
        if oob and not self.has_oob:
            raise Unsupported("out-of-band execution")
        request = request_line(name, arguments, oob=oob)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("--> %s %s", name, redact(arguments, of=name))
        # A reply out of band overtakes others, so it has to say whose it is.
        ident, carries_it = self._ids.new(must_carry=oob)
        return ident, with_id(request, ident) if carries_it else request

    async def execute(
        self, name: str, arguments: JsonObject, limit: float, *, oob: bool = False
    ) -> JsonValue:
        """Send a command; return what its reply returns, within ``limit`` seconds."""
        loop = self._link.loop
        if asyncio.get_running_loop() is not loop:
            raise UsageError("this connection belongs to another event loop")
        reply: asyncio.Future[JsonObject] = loop.create_future()
        expiry = None
        if limit != math.inf:
            expiry = loop.call_later(limit, _expire, reply, name, limit)
        ident = ""
        try:
            ident, request = self._request(name, arguments, oob)
            self._pending[ident] = functools.partial(_resolve, reply)
            self._send(request, name)
            return result(await reply, name, arguments)
        finally:
            self._pending.pop(ident, None)
            if expiry is not None:
                expiry.cancel()

    def ask(self, name: str, arguments: JsonObject, limit: float, *, oob: bool) -> JsonValue:
        """Do as :meth:`execute`, from a thread that is not the loop's, by the shortest way."""
        give_up = time.monotonic() + limit
        ident, request = self._request(name, arguments, oob)
        reply: JsonObject | None = None
        mailbox: queue.SimpleQueue[JsonObject | BlockSdkError] | None = None

        def is_reply(line: bytes) -> bool:
            nonlocal reply
            try:
                message = self._parse(line)
            except (ValueError, RecursionError):
                return False  # the loop says what is wrong
            if "event" in message or self._ids.of_reply(message) != ident:
                return False
            reply = message
            return True

        def hand_over() -> None:
            nonlocal mailbox
            mailbox = queue.SimpleQueue()
            self._pending[ident] = mailbox.put
            if self._error is not None:
                mailbox.put(self._error)

        try:
            self._link.ask(
                request,
                is_reply=is_reply,
                timeout=limit,
                hand_over=hand_over,
                # Who listens is told of all messages by one thread, in their order.
                send_in_loop=None
                if self._on_message is None
                else functools.partial(self._send, request, name),
            )
            if reply is not None:
                # Not before the link is done with it: interrupted there, the loop does this.
                self._ids.settle(reply)
                return result(reply, name, arguments)
            assert mailbox is not None
            left = max(0.0, give_up - time.monotonic())
            outcome = mailbox.get(timeout=min(left, threading.TIMEOUT_MAX))
        except queue.Empty:
            raise DeadlineExceeded(f"the reply to {name}", seconds=limit) from None
        finally:
            self._pending.pop(ident, None)
        if isinstance(outcome, BlockSdkError):
            raise _again(outcome)
        return result(outcome, name, arguments)

    def _send(self, request: bytes, name: str) -> None:
        # Told at once: a reply may be read before the loop's next turn.
        if self._on_message is not None:
            self._tell(parse(request), name)
        self._link.send(request)

    def _on_line(self, line: bytes) -> None:
        try:
            message = self._parse(line)
        except ValueError:
            self._link.close()
            self._on_lost(f"the peer does not speak QMP: it sent {line[:80]!r}")
            return
        if self._on_message is not None:
            self._tell(message)
        if "event" in message:
            self._on_event(message)
        elif not self.greeting.done():
            self.greeting.set_result(message)
        else:
            ident = self._ids.of_reply(message)
            if ident is None:
                # QEMU answers so to what it cannot read, which is nothing that we sent.
                self._link.close()
                self._on_lost(f"an unexpected reply: {dumps(message)[:200]}")
                return
            deliver = self._pending.get(ident)
            self._ids.settle(message)
            if deliver is not None:
                deliver(message)

    def _parse(self, line: bytes) -> JsonObject:
        message = parse(line)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("<-- %s", shown(message))
        return message

    def _tell(self, message: JsonObject, name: str = "") -> None:
        assert self._on_message is not None
        try:
            self._on_message(shown(message, of=name))
        except Exception as error:  # noqa: BLE001 - must not keep it from its receiver
            context = {"message": "on_message raised", "exception": error}
            self._link.loop.call_exception_handler(context)


def _resolve(reply: asyncio.Future[JsonObject], message: JsonObject | BlockSdkError) -> None:
    if reply.done():
        return
    if isinstance(message, BlockSdkError):
        reply.set_exception(_again(message))
    else:
        reply.set_result(message)


def _expire(reply: asyncio.Future[JsonObject], name: str, limit: float) -> None:
    if not reply.done():
        reply.set_exception(DeadlineExceeded(f"the reply to {name}", seconds=limit))


def _again(error: BlockSdkError) -> BlockSdkError:
    """Return an exception of one's own to raise: a raised one collects tracebacks."""
    if isinstance(error, ConnectionLost):
        return ConnectionLost(error.what, exit_status=error.exit_status, output=error.output)
    return error
