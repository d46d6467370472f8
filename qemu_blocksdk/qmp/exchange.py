"""The messages of one connection: commands in flight, their replies, what else comes.

Every command carries an id. A reply without an id that somebody waits for is dropped: it answers
a command that was given up (cancelled, timed out), here or by the client before us. What a
message means is no business of this module; ``connection`` makes a session of it.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
import math
import queue
import socket
from collections.abc import Callable

from qemu_blocksdk.codec import JsonObject, JsonValue, redact, secrets_in
from qemu_blocksdk.errors import BlockSdkError, DeadlineExceeded, Unsupported, UsageError

from . import background_loop
from .deadline import Deadline
from .ids import Ids, ShownIds
from .link import Link
from .message import OnMessage, parse, request_bytes, result, shown

_log = logging.getLogger(__name__)


class Exchange:
    """Commands and replies over a connected socket; made in the event loop that reads it.

    QEMU reads byte by byte, so ``ends_lines`` is for stubs and proxies that read lines.
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
        self.ends_lines = True
        self.greeting: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._on_event, self._on_lost, self._on_message = on_event, on_lost, on_message
        self._ids, self._shown_ids = Ids(), ShownIds()
        self._pending: dict[int, Callable[[JsonObject | BlockSdkError], None]] = {}
        self._error: BlockSdkError | None = None
        self._unclaimed_error = ""
        # What a reply may quote, while somebody looks.
        self._secrets: dict[object, frozenset[str]] = {}
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

    def _request(self, name: str, arguments: JsonObject, ident: int, oob: bool) -> bytes:
        """Return the encoded request of a command whose reply somebody waits for."""
        if self._error is not None:
            raise _again(self._error)
        if oob and not self.has_oob:
            raise Unsupported("out-of-band execution")
        message = request_bytes(name, arguments, ident, oob=oob)
        is_logged = _log.isEnabledFor(logging.DEBUG)
        is_shown = is_logged or self._on_message is not None
        if is_shown and (found := secrets_in(arguments, of=name)):
            self._secrets[ident] = found
        if is_logged:
            _log.debug("--> %s %s", name, redact(arguments, of=name))
        return message + b"\n" if self.ends_lines else message

    async def execute(
        self, name: str, arguments: JsonObject, deadline: Deadline, *, oob: bool = False
    ) -> JsonValue:
        """Send a command; return what its reply returns. Raises DeadlineExceeded."""
        loop = self._link.loop
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

    def ask(self, name: str, arguments: JsonObject, deadline: Deadline, *, oob: bool) -> JsonValue:
        """Do as :meth:`execute`, from a thread that is not the loop's, by the shortest way."""
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
            self._link.ask(
                message,
                is_reply=is_reply,
                deadline=deadline,
                # One thread shows all messages to ``on_message``, in their order.
                send_in_loop=None
                if self._on_message is None
                else functools.partial(self._send, message, name),
            )
            if reply is None:
                reply = self._wait(mailbox, name, deadline)
            is_answered = True
        finally:
            self._settle(ident, is_answered=is_answered)
        if isinstance(reply, BlockSdkError):
            raise _again(reply)
        return result(reply, name, arguments)

    def _settle(self, ident: int, *, is_answered: bool) -> None:
        self._pending.pop(ident, None)
        self._ids.settle(ident, is_answered=is_answered)
        if is_answered:
            self._secrets.pop(ident, None)

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
    def hint(self) -> str:
        """What to add to the error of a wait that was given up; empty, or in parentheses."""
        # The error of QEMU's parser has no id, so it may be about the command.
        error = self._unclaimed_error
        return f" (QEMU could not read a message: {error})" if error else ""

    def _late(self, name: str, deadline: Deadline) -> DeadlineExceeded:
        return deadline.exceeded(f"the reply to {name}{self.hint}")

    def _expire(self, reply: asyncio.Future[JsonObject], name: str, deadline: Deadline) -> None:
        if not reply.done():
            reply.set_exception(self._late(name, deadline))

    def _send(self, message: bytes, name: str) -> None:
        # Shown at once: a reply may be read before the loop's next turn.
        if self._on_message is not None:
            self._show(self._shown_ids.of_command(parse(message)), name)
        self._link.send(message)

    def _on_line(self, line: bytes) -> None:
        try:
            message = self._parse(line)
        except ValueError:
            self._link.close()
            self._on_lost(f"the peer does not speak QMP: it sent {line[:80]!r}")
            return
        if self._on_message is not None:
            self._show(self._shown_ids.of_reply(message), known=self._known(message))
        if "event" in message:
            self._on_event(message)
        elif not self.greeting.done():
            self.greeting.set_result(message)
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
            self._secrets.pop(ident, None)
        _log.debug("dropped: a reply that nobody waits for (id %r)", ident)
        error = message.get("error")
        if ident is None and isinstance(error, dict):
            self._unclaimed_error = str(error.get("desc"))[:200]

    def _parse(self, line: bytes) -> JsonObject:
        message = parse(line)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("<-- %s", shown(message, known=self._known(message)))
        return message

    def _known(self, message: JsonObject) -> frozenset[str]:
        return self._secrets.get(message.get("id"), frozenset())

    def _show(
        self, message: JsonObject, name: str = "", *, known: frozenset[str] = frozenset()
    ) -> None:
        assert self._on_message is not None
        try:
            self._on_message(shown(message, of=name, known=known))
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


def _again(error: BlockSdkError) -> BlockSdkError:
    """Return an exception of one's own to raise: a raised one collects tracebacks and causes."""
    return copy.copy(error)
