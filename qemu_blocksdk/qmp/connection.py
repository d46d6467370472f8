"""The QMP session: greeting, capabilities, typed commands, events, the end.

Which reply is whose, ``exchange`` knows. ``docs/architecture.md`` says why this is not
``qemu.qmp.QMPClient``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping
from typing import Protocol, Self, TypeVar, cast, overload

from qemu_blocksdk.codec import (
    Command,
    Event,
    JsonObject,
    JsonValue,
    decode_reply,
    encode,
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
from qemu_blocksdk.sealed import sealed_class

from . import background_loop
from .address import Address, connected, is_qemu, words
from .deadline import Deadline, within
from .events import AsyncEventStream, Register
from .exchange import Exchange
from .gate import Gate, ServerKind
from .message import OnMessage
from .owner import Owner
from .resource import AsyncResource

R = TypeVar("R")
E = TypeVar("E", bound=Event)
_log = logging.getLogger(__name__)


class Peer(Protocol):
    """The process behind a connection, as far as a connection needs to know it."""

    @property
    def pid(self) -> int:
        """The id of the process."""
        ...

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


@sealed_class
class AsyncQmp(AsyncResource):
    """A QMP connection to a running QEMU or storage daemon.

    Made by :meth:`connect`, or by the objects that start a QEMU. Every command has a time
    limit in seconds: ``timeout`` of the call, else ``command_timeout`` of the connection
    (``math.inf``: none). After a DeadlineExceeded or a cancellation it is unknown whether
    the command ran; the connection stays usable.
    """

    def __init__(self, command_timeout: float, peer: Peer | None) -> None:
        self._command_timeout = command_timeout
        self._peer = peer
        self._owner = Owner(is_guest=peer is None)
        self._events = Register()
        self._closed = False
        self._lost = asyncio.Event()
        self._fd_turn = asyncio.Lock()
        self._output_turn = asyncio.Lock()
        self._is_output_late = False
        self._obituary: asyncio.Task[int | None] | None = None
        self._exchange: Exchange
        self._gate: Gate
        self._version: tuple[int, int, int]

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
        self = cls(command_timeout, peer)
        where = words(address)
        try:
            async with asyncio.timeout(timeout):
                sock = await connected(address)
                self._exchange = Exchange(
                    sock,
                    on_event=self._events.dispatch,
                    on_lost=self._on_lost,
                    on_message=on_message,
                )
                await self._negotiate(kind, binary)
                pid = None if peer is None else peer.pid
                self._exchange.ends_lines = not is_qemu(sock, pid)
        except TimeoutError as error:
            hint = self._exchange.hint if hasattr(self, "_exchange") else ""
            await self.close()
            raise DeadlineExceeded(f"a QMP greeting from {where}{hint}", seconds=timeout) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in a path, a host of 64 letters
            await self.close()
            raise ConnectionLost(f"cannot connect to {where}: {error}") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def _negotiate(self, kind: ServerKind | None, binary: object) -> None:
        greeting = await self._exchange.greeting
        try:
            qmp = cast("dict[str, JsonValue]", greeting["QMP"])
            version = cast("dict[str, dict[str, int]]", qmp["version"])["qemu"]
            self._version = (version["major"], version["minor"], version["micro"])
            self._exchange.has_oob = "oob" in cast("list[str]", qmp["capabilities"])
        except (KeyError, TypeError) as error:
            raise ConnectionLost(f"the peer's greeting is none of QMP: {greeting}") from error
        self._gate = Gate(self._version[:2], self._ask_schema, kind=kind, binary=binary)
        enable = {"enable": ["oob"]} if self._exchange.has_oob else {}
        await self._exchange.execute("qmp_capabilities", enable, Deadline(None))

    async def close(self) -> None:
        """Close the connection; commands in flight end with ConnectionLost. May be repeated."""
        if self._closed:
            return
        self._closed = True
        self._owner.end(in_order=not self._lost.is_set())
        if hasattr(self, "_exchange"):
            self._exchange.close()
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
        return self._exchange.error is None

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
        deadline = self._deadline(timeout)
        if not self._gate.passes(name, arguments):
            await self._check(name, arguments, deadline)
        try:
            reply = await self._exchange.execute(name, arguments, deadline, oob=oob)
        except CommandError as error:
            meaning = await self._explain(error, name, arguments, deadline)
            if meaning is None:
                raise
            raise meaning from error
        return decode_reply(command, reply)

    async def _check(self, name: str, arguments: JsonObject, deadline: Deadline) -> None:
        # The time that the server takes for its schema is time of this command.
        async with within(deadline, f"the reply to {name}"):
            await self._gate.check(name, arguments)

    async def _explain(
        self, error: CommandError, name: str, arguments: JsonObject, deadline: Deadline
    ) -> BlockSdkError | None:
        """Return what a refusal means, if it means something else and there is time to ask."""
        try:
            async with within(deadline, f"the reply to {name}"):
                return await self._gate.explain(error, name, arguments)
        except (ConnectionLost, DeadlineExceeded):
            return None  # the refusal itself is what the caller needs

    async def execute_with_fd(
        self, command: Command[R], fd: int, *, timeout: float | None = None
    ) -> R:
        """Do as :meth:`execute`; QEMU gets a copy of an open descriptor with it (SCM_RIGHTS).

        Raises UsageError for what is none, and where the connection is not by a unix socket.
        """
        name, arguments = _encoded(command)
        deadline = self._deadline(timeout)
        async with within(deadline, f"the reply to {name}"):
            await self._gate.check(name, arguments)
            # QEMU keeps the descriptor that came last, so the next waits for this reply.
            async with self._fd_turn:
                await self._pass_fd(fd)
                return await self.execute(command, timeout=math.inf)

    async def send_fd(self, fd: int) -> None:
        """Hand QEMU a copy of an open descriptor; the next command is the one that gets it.

        Raises UsageError for what is none, and where the connection is not by a unix socket;
        DeadlineExceeded where QEMU does not read within the ``command_timeout``.
        """
        async with within(self._deadline(None), f"the passing of descriptor {fd}"):
            await self._pass_fd(fd)

    async def _pass_fd(self, fd: int) -> None:
        try:
            await self._exchange.pass_fd(fd)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot pass descriptor {fd}: {error}") from error

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
        return await self._exchange.execute(
            name, cast("JsonObject", arguments or {}), self._deadline(timeout), oob=oob
        )

    def execute_from_thread(
        self, command: Command[R], *, timeout: float | None = None, oob: bool = False
    ) -> R:
        """Do as :meth:`execute`, from a thread that is not the loop's, by the shortest way."""
        background_loop.assert_running()  # what follows may import, which fails by then
        name, arguments = _encoded(command)
        deadline = self._deadline(timeout)
        if not self._gate.passes(name, arguments):
            background_loop.run(self._check(name, arguments, deadline))
        try:
            reply = self._exchange.ask(name, arguments, deadline, oob=oob)
        except CommandError as error:
            meaning = background_loop.run(self._explain(error, name, arguments, deadline))
            if meaning is None:
                raise
            raise meaning from error
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
        return self._exchange.ask(
            name, cast("JsonObject", arguments or {}), self._deadline(timeout), oob=oob
        )

    async def _execute_and_read(
        self, command: Command[R], *, timeout: float | None = None
    ) -> tuple[R, str]:
        """Do as :meth:`execute`; return also what the process printed meanwhile.

        Raises Unsupported for a process that is not ours.
        """
        if self._peer is None:
            raise Unsupported("output that we can read: somebody else started it")
        deadline = self._deadline(timeout)
        async with within(deadline, f"the reply to {command._name}"), self._output_turn:
            if self._is_output_late:
                # What was given up prints before QEMU gets to this.
                await self.execute_raw("query-version", timeout=math.inf)
                self._is_output_late = False
            start = self._peer.output_size()
            try:
                reply = await self.execute(command, timeout=math.inf)
            except asyncio.CancelledError:
                self._is_output_late = True
                raise
            return reply, self._peer.output(start=start)

    async def schema(self) -> Schema:
        """Return the connected QEMU's own schema (``query-qmp-schema``); it is asked for once."""
        async with within(self._deadline(None), "the reply to query-qmp-schema"):
            return await self._gate.schema()

    async def _ask_schema(self) -> Schema:
        # Each who waits for it has a limit of his own.
        reply = await self._exchange.execute("query-qmp-schema", {}, Deadline(None))
        return Schema.from_json(reply)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._command_timeout if timeout is None else timeout)

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
        if not self.is_connected:
            stream._finish()
        return stream

    def _stream_error(self) -> BlockSdkError | None:
        return None if self._closed else self._exchange.error

    # -- the end --------------------------------------------------------------------------

    def _on_lost(self, reason: str) -> None:
        """Fail everything that waits, with the process's last words if it has just died."""

        def fail(status: asyncio.Task[int | None]) -> None:  # called also where the loop ends
            output = "" if self._peer is None else self._peer.output_tail()
            ended = None if status.cancelled() else status.result()
            what = f"connection lost: {reason}"
            self._fail(ConnectionLost(what, exit_status=ended, output=output))

        self._obituary = asyncio.ensure_future(self._exit_status())
        self._obituary.add_done_callback(fail)

    async def _exit_status(self) -> int | None:
        if self._peer is not None:
            with contextlib.suppress(DeadlineExceeded):
                # The socket closes a moment before the process can be waited for.
                return await self._peer.wait(timeout=0.05)
        return None

    def _fail(self, error: BlockSdkError) -> None:
        if hasattr(self, "_exchange"):
            self._exchange.fail(error)
        self._owner.end(in_order=False)
        self._events.finish()
        self._lost.set()


def _encoded(command: object) -> tuple[str, JsonObject]:
    if not isinstance(command, Command):
        raise UsageError(f"{command!r} is not a command: it takes an instance")
    known = cast("Command[object]", command)
    return known._name, encode(known) if vars(known) else {}
