"""The QMP session: greeting, capabilities, commands and their replies.

A command is identified by its id, so one that was given up (cancelled, timed out)
confuses nothing: its reply is dropped when it comes. ``docs/architecture.md`` says why
this is not ``qemu.qmp.QMPClient``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol, Self, TypeVar, cast, overload

from qemu_blocksdk.codec import (
    Command,
    Event,
    JsonObject,
    JsonValue,
    decode_reply,
    encode,
    redact,
)
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.schema import Schema

from . import portal
from .address import Address, connected, words
from .deadline import within
from .events import AsyncEventStream, Register
from .gate import Gate, ServerKind
from .ids import Ids
from .link import Link
from .message import OnMessage, dumps, parse, request_line, result, shown, with_id
from .resource import Resource

R = TypeVar("R")
E = TypeVar("E", bound=Event)
_log = logging.getLogger(__name__)


class Peer(Protocol):
    """The process behind a connection, as far as a connection needs to know it."""

    async def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the end of the process; return its exit status."""
        ...

    def output_tail(self) -> str:
        """Return the last of what the process printed."""
        ...

    def output_size(self) -> int:
        """Return how many bytes the process has printed."""
        ...

    def output(self, *, start: int = 0) -> str:
        """Return what the process has printed, from a byte on."""
        ...


class AsyncQmp(Resource):
    """A QMP connection to a running QEMU or storage daemon.

    Made by :meth:`connect`, or by the objects that start a QEMU. Every command has a time
    limit in seconds: ``timeout`` of the call, else ``command_timeout`` of the connection
    (``math.inf``: none). After a DeadlineExceeded or a cancellation it is unknown whether
    the command ran; the connection stays usable.
    """

    def __init__(
        self, command_timeout: float, peer: Peer | None, on_message: OnMessage | None
    ) -> None:
        self._command_timeout = command_timeout
        self._peer = peer
        self._on_message = on_message
        self._ids = Ids()
        self._pending: dict[str, Callable[[JsonObject | BlockSdkError], None]] = {}
        self._events = Register()
        self._error: BlockSdkError | None = None
        self._closed = False
        self._lost = asyncio.Event()
        self._fd_turn = asyncio.Lock()
        self._output_turn = asyncio.Lock()
        self._is_output_late = False
        self._obituary: asyncio.Future[None] | None = None
        self._greeting: asyncio.Future[JsonObject] | None = None
        self._link: Link
        self._gate: Gate
        self._version: tuple[int, int, int]
        self._has_oob = False

    # -- life ---------------------------------------------------------------------------

    @classmethod
    async def connect(
        cls,
        address: Address,
        *,
        timeout: float = 10.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Connect, read the greeting and negotiate capabilities, all within ``timeout`` seconds.

        ``command_timeout`` is the time limit of a command that names none. ``on_message`` is
        called in the event loop with a copy, without secrets, of each message that goes over
        the connection in either direction, before anybody acts on it.

        Raises ConnectionLost when nobody is there or what answers is no QMP server,
        DeadlineExceeded when nothing answers.
        """
        return await cls._connect(
            address, timeout=timeout, command_timeout=command_timeout, on_message=on_message
        )

    @classmethod
    async def _connect(
        cls,
        address: Address,
        *,
        timeout: float,
        command_timeout: float,
        kind: ServerKind | None = None,
        binary: object = None,
        peer: Peer | None = None,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Do so with what a launcher knows of the process behind the address."""
        self = cls(command_timeout, peer, on_message)
        where = words(address)
        try:
            async with asyncio.timeout(timeout):
                sock = await connected(address)
                self._greeting = asyncio.get_running_loop().create_future()
                self._link = Link(sock, on_line=self._on_line, on_lost=self._on_lost)
                await self._negotiate(kind, binary)
        except TimeoutError as error:
            await self.close()
            raise DeadlineExceeded(f"a QMP greeting from {where}", seconds=timeout) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in a path, a host of 64 letters
            await self.close()
            raise ConnectionLost(f"cannot connect to {where}: {error}") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def _negotiate(self, kind: ServerKind | None, binary: object) -> None:
        assert self._greeting is not None
        greeting = await self._greeting
        try:
            qmp = cast("dict[str, JsonValue]", greeting["QMP"])
            version = cast("dict[str, dict[str, int]]", qmp["version"])["qemu"]
            self._version = (version["major"], version["minor"], version["micro"])
            self._has_oob = "oob" in cast("list[str]", qmp["capabilities"])
        except (KeyError, TypeError) as error:
            raise ConnectionLost(f"the peer's greeting is none of QMP: {greeting}") from error
        self._gate = Gate(self._version[:2], self._ask_schema, kind=kind, binary=binary)
        enable = {"enable": ["oob"]} if self._has_oob else {}
        await self._execute("qmp_capabilities", enable, math.inf)

    async def close(self) -> None:
        """Close the connection; commands in flight end with ConnectionLost. May be repeated."""
        if self._closed:
            return
        self._closed = True
        if hasattr(self, "_link"):
            self._link.close()
        if hasattr(self, "_gate"):
            self._gate.forget()
        self._fail(ConnectionLost("the connection was closed"))

    async def _leave(self, error: BaseException | None) -> None:
        await self.close()

    @property
    def version(self) -> tuple[int, int, int]:
        """The QEMU version from the greeting: major, minor, micro."""
        return self._version

    @property
    def is_connected(self) -> bool:
        """Whether commands can still be sent."""
        return self._error is None

    async def wait_lost(self, *, timeout: float | None = None) -> None:
        """Wait until the connection has ended, whoever ended it. Raises DeadlineExceeded."""
        async with within(timeout, "the end of the connection"):
            await self._lost.wait()

    # -- commands -----------------------------------------------------------------------

    async def execute(
        self, command: Command[R], *, timeout: float | None = None, oob: bool = False
    ) -> R:
        """Send a typed command and return its typed reply.

        ``oob`` sends it out of band, past commands that are still running. Raises
        CommandError when QEMU refuses, Unsupported or UsageError when it is not sent,
        ConnectionLost, DeadlineExceeded.
        """
        name, arguments = _encoded(command)
        await self._gate.check(name, arguments)
        try:
            reply = await self._execute(name, arguments, self._limit(timeout), oob=oob)
        except CommandError as error:
            raise await self._gate.explain(error, name, arguments) from error
        return decode_reply(command, reply)

    async def execute_with_fd(
        self, command: Command[R], fd: int, *, timeout: float | None = None
    ) -> R:
        """Do as :meth:`execute`; QEMU gets a copy of an open descriptor with it (SCM_RIGHTS).

        Raises UsageError for what is none, and where the connection is not by a unix socket.
        """
        name, arguments = _encoded(command)
        await self._gate.check(name, arguments)
        limit = self._limit(timeout)
        # QEMU keeps the descriptor that came last, so the next waits for this reply.
        async with within(limit, f"the reply to {name}"), self._fd_turn:
            try:
                await self._link.pass_fd(fd)
            except (OSError, OverflowError) as error:
                raise UsageError(f"{name}: cannot pass descriptor {fd}: {error}") from error
            return await self.execute(command, timeout=limit)

    async def execute_raw(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        oob: bool = False,
    ) -> JsonValue:
        """Send any command as it is, unchecked, and return its reply as decoded JSON.

        Raises as :meth:`execute`, except that nothing is refused before it is sent.
        """
        return await self._execute(
            name, cast("JsonObject", arguments or {}), self._limit(timeout), oob=oob
        )

    def execute_from_thread(
        self, command: Command[R], *, timeout: float | None = None, oob: bool = False
    ) -> R:
        """Do as :meth:`execute`, from a thread that is not the loop's, by the shortest way."""
        name, arguments = _encoded(command)
        if not self._gate.passes(name, arguments):
            portal.run(self._gate.check(name, arguments))
        try:
            reply = self._ask(name, arguments, self._limit(timeout), oob)
        except CommandError as error:
            raise portal.run(self._gate.explain(error, name, arguments)) from error
        return decode_reply(command, reply)

    def execute_raw_from_thread(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        oob: bool = False,
    ) -> JsonValue:
        """Do as :meth:`execute_raw`, from a thread that is not the loop's."""
        return self._ask(name, cast("JsonObject", arguments or {}), self._limit(timeout), oob)

    async def _execute_and_read(
        self, command: Command[R], *, timeout: float | None = None
    ) -> tuple[R, str]:
        """Do as :meth:`execute`; return also what the process printed meanwhile.

        Raises Unsupported for a process that is not ours.
        """
        if self._peer is None:
            raise Unsupported("output that we can read: somebody else started it")
        async with self._output_turn:
            if self._is_output_late:
                # What was given up prints before QEMU gets to this.
                await self.execute_raw("query-version", timeout=timeout)
                self._is_output_late = False
            start = self._peer.output_size()
            try:
                reply = await self.execute(command, timeout=timeout)
            except (asyncio.CancelledError, DeadlineExceeded):
                self._is_output_late = True
                raise
            return reply, self._peer.output(start=start)

    async def schema(self) -> Schema:
        """Return the connected QEMU's own schema (``query-qmp-schema``); it is asked for once."""
        return await self._gate.schema()

    async def _ask_schema(self) -> Schema:
        limit = self._limit(None)
        return Schema.from_json(await self._execute("query-qmp-schema", {}, limit))

    def _limit(self, timeout: float | None) -> float:
        return self._command_timeout if timeout is None else timeout

    def _request(self, name: str, arguments: JsonObject, oob: bool) -> tuple[str, bytes]:
        """Return the id of a new command and the encoded request."""
        if self._error is not None:
            raise _again(self._error)
        if oob and not self._has_oob:
            raise Unsupported("out-of-band execution")
        request = request_line(name, arguments, oob=oob)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("--> %s %s", name, redact(arguments, of=name))
        # A reply out of band overtakes others, so it has to say whose it is.
        ident, carries_it = self._ids.new(must_carry=oob)
        request = with_id(request, ident) if carries_it else request
        if self._on_message is not None:
            self._link.loop.call_soon_threadsafe(self._tell, parse(request), name)
        return ident, request

    async def _execute(
        self, name: str, arguments: JsonObject, limit: float, *, oob: bool = False
    ) -> JsonValue:
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
            self._link.send(request)
            return result(await reply, name, arguments)
        finally:
            self._pending.pop(ident, None)
            if expiry is not None:
                expiry.cancel()

    def _ask(self, name: str, arguments: JsonObject, limit: float, oob: bool) -> JsonValue:
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
                seated=self._on_message is None,
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

    # -- events -------------------------------------------------------------------------

    @overload
    def events(self) -> AsyncEventStream[Event]: ...
    @overload
    def events(self, *kinds: type[E], **match: object) -> AsyncEventStream[E]: ...
    def events(self, *kinds: type[Event], **match: object) -> AsyncEventStream[Event]:
        """Subscribe to events, from now on: of the given classes, or all.

        Keywords select by member: ``qmp.events(JobStatusChange, id="job0")``. Raises
        UsageError for a member that the event does not have.
        """
        stream = AsyncEventStream(self._events, self._stream_error, kinds, match)
        if self._error is not None:
            stream._finish()
        return stream

    def _stream_error(self) -> BlockSdkError | None:
        return None if self._closed or self._error is None else _again(self._error)

    # -- what the link calls --------------------------------------------------------------

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
            self._events.dispatch(message)
        elif self._greeting is not None and not self._greeting.done():
            self._greeting.set_result(message)
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

    def _on_lost(self, reason: str) -> None:
        self._obituary = asyncio.ensure_future(self._report_lost(reason))

    async def _report_lost(self, reason: str) -> None:
        """Fail everything that waits, with the process's last words if it has just died."""
        status, output = None, ""
        if self._peer is not None:
            with contextlib.suppress(DeadlineExceeded):
                # The socket closes a moment before the process can be waited for.
                status = await self._peer.wait(timeout=0.05)
            output = self._peer.output_tail()
        self._fail(ConnectionLost(f"connection lost: {reason}", exit_status=status, output=output))

    def _fail(self, error: BlockSdkError) -> None:
        if self._error is None:
            self._error = error
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_exception(_again(error))
            self._greeting.exception()
        for deliver in list(self._pending.values()):
            deliver(error)
        self._events.finish()
        self._lost.set()


def _encoded(command: Command[object]) -> tuple[str, JsonObject]:
    if not isinstance(cast("object", command), Command):
        raise UsageError(f"{command!r} is not a command: it takes an instance")
    return command._name, encode(command)


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
