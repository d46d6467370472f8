"""The QMP session: typed commands, events, the version gate, the end.

A session interprets messages; a :class:`~qemu_blocksdk.qmp.transport.Transport` carries them.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, TypeVar, cast, overload

from qemu_blocksdk.codec import (
    Command,
    Event,
    EventSelector,
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
from .address import Address
from .deadline import Deadline, within
from .events import AsyncEventStream, EventRegister
from .gate import Gate, ServerKind
from .messages import OnMessage
from .owner import Owner
from .resource import AsyncResource
from .socket_transport import SocketTransport
from .transport import Peer, QemuVersion, Transport

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

R = TypeVar("R")
E = TypeVar("E", bound=Event)


@sealed_class
class AsyncQmp(AsyncResource):
    """A QMP connection to a running QEMU or storage daemon.

    Made by :meth:`connect`, by :meth:`over`, or by the objects that start a QEMU. Every command
    has a time limit in seconds: ``timeout`` of the call, else ``command_timeout`` of the
    connection (``math.inf``: none). After a DeadlineExceeded or a cancellation it is unknown
    whether the command ran; the connection stays usable.
    """

    def __init__(self, transport: Transport, command_timeout: float) -> None:
        self._transport = transport
        self._command_timeout = command_timeout
        self._owner = Owner(is_guest=transport.process is None)
        self._events = EventRegister()
        self._closed = False
        self._lost = asyncio.Event()
        self._output_turn = asyncio.Lock()
        self._is_output_late = False
        self._gate: Gate
        self._version: QemuVersion

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
        called in the event loop with a copy, without secrets, of each message in either
        direction, before it is acted on.

        Raises ConnectionLost where nothing listens at the address or the peer is no QMP server,
        DeadlineExceeded where the peer sends no greeting.
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
        """Like :meth:`connect`, with what a launcher knows of the process behind the address."""
        transport = SocketTransport(address, process=peer, on_message=on_message)
        return await cls._open(transport, timeout, command_timeout, kind=kind, binary=binary)

    @classmethod
    async def over(
        cls,
        client: QMPClient,
        *,
        timeout: float = 10.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Open a session over a connected ``qemu.qmp.QMPClient``, which stays the caller's.

        The caller may go on to use the client; :meth:`close` unregisters our listener and leaves
        the client connected. When the client disconnects for any reason, every waiting call
        raises ConnectionLost. ``timeout`` is for a client that has no greeting
        (``negotiate = False``), whose QEMU is then asked for its version. ``on_message`` is
        called with the commands and replies of this session and with each event.

        A client lives in the event loop that it was connected in, so it serves the async classes
        only. Raises UsageError for a client that is not connected or that belongs to another
        event loop, ConnectionLost for one that is not connected to a QMP server,
        DeadlineExceeded. ::

            client = QMPClient("vm")
            await client.connect("/run/vm/qmp.sock")
            async with await AsyncQmp.over(client) as qmp:
                print(await qmp.execute(QueryJobs()))
        """
        return await cls._open(_over(client, on_message), timeout, command_timeout)

    @classmethod
    async def _attach(
        cls,
        to: Address | QMPClient,
        *,
        timeout: float,
        command_timeout: float,
        on_message: OnMessage | None,
    ) -> Self:
        """Connect to an address, or open a session over a client."""
        if isinstance(to, str | os.PathLike | tuple | socket.socket):
            transport: Transport = SocketTransport(to, on_message=on_message)
        else:
            transport = _over(to, on_message)
        return await cls._open(transport, timeout, command_timeout)

    @classmethod
    async def _open(
        cls,
        transport: Transport,
        timeout: float,
        command_timeout: float,
        *,
        kind: ServerKind | None = None,
        binary: object = None,
    ) -> Self:
        self = cls(transport, command_timeout)
        try:
            self._version = await transport.open(
                on_event=self._events.dispatch, on_end=self._on_end, timeout=timeout
            )
        except BaseException:
            await self.close()
            raise
        self._gate = Gate(self._version[:2], self._ask_schema, kind=kind, binary=binary)
        return self

    async def close(self) -> None:
        """Close the connection; commands in flight end with ConnectionLost. May be repeated.

        A QMPClient that the session is over stays connected.
        """
        if self._closed:
            return
        self._closed = True
        self._owner.end(in_order=not self._lost.is_set())
        self._transport.close()
        if hasattr(self, "_gate"):
            self._gate.forget()
        self._on_end()

    async def _leave(self, error: BaseException | None) -> None:
        await self.close()

    @property
    def version(self) -> tuple[int, int, int]:
        """The QEMU version from the greeting: major, minor, micro."""
        return self._version

    @property
    def is_connected(self) -> bool:
        """Whether commands can still be sent."""
        return self._transport.error is None

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
        return await self._execute(command, self._deadline(timeout), oob=oob)

    async def _execute(
        self, command: Command[R], deadline: Deadline, *, oob: bool = False, fd: int | None = None
    ) -> R:
        name, arguments = _encoded(command)
        if not self._gate.passes(name, arguments):
            await self._check(name, arguments, deadline)
        try:
            reply = await self._transport.execute(name, arguments, deadline, oob=oob, fd=fd)
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
        """Return a more precise error for a refusal, if there is one and time left to find it."""
        try:
            async with within(deadline, f"the reply to {name}"):
                return await self._gate.explain(error, name, arguments)
        except (ConnectionLost, DeadlineExceeded):
            return None  # the refusal itself is raised

    async def execute_with_fd(
        self, command: Command[R], fd: int, *, timeout: float | None = None
    ) -> R:
        """Like :meth:`execute`, and pass QEMU a copy of an open descriptor (SCM_RIGHTS).

        Raises UsageError for a number that is no open descriptor, Unsupported where the
        connection is not by a unix socket.
        """
        return await self._execute(command, self._deadline(timeout), fd=fd)

    async def send_fd(self, fd: int) -> None:
        """Pass QEMU a copy of an open descriptor, for the command that is sent next.

        Raises UsageError for a number that is no open descriptor, Unsupported where the
        connection is not by a unix socket, DeadlineExceeded where QEMU does not read within the
        ``command_timeout``.
        """
        async with within(self._deadline(None), f"the passing of descriptor {fd}"):
            await self._transport.send_fd(fd)

    async def execute_raw(
        self,
        name: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        oob: bool = False,
    ) -> JsonValue:
        """Send a command by name, unchecked, and return its reply as decoded JSON.

        Raises as :meth:`execute`, except that nothing is refused before it is sent.
        """
        return await self._transport.execute(
            name, cast("JsonObject", arguments or {}), self._deadline(timeout), oob=oob
        )

    def execute_from_thread(
        self, command: Command[R], *, timeout: float | None = None, oob: bool = False
    ) -> R:
        """Like :meth:`execute`, for a thread that does not run the event loop."""
        background_loop.assert_running()  # what follows may import, which fails by then
        name, arguments = _encoded(command)
        deadline = self._deadline(timeout)
        if not self._gate.passes(name, arguments):
            background_loop.run(self._check(name, arguments, deadline))
        try:
            reply = self._transport.execute_from_thread(name, arguments, deadline, oob=oob)
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
        """Like :meth:`execute_raw`, for a thread that does not run the event loop."""
        return self._transport.execute_from_thread(
            name, cast("JsonObject", arguments or {}), self._deadline(timeout), oob=oob
        )

    async def _execute_and_read(
        self, command: Command[R], *, timeout: float | None = None
    ) -> tuple[R, str]:
        """Like :meth:`execute`; return also what the process printed meanwhile.

        Raises Unsupported for a process that is not ours.
        """
        process = self._transport.process
        if process is None:
            raise Unsupported("output that we can read: somebody else started it")
        deadline = self._deadline(timeout)
        async with within(deadline, f"the reply to {command._name}"), self._output_turn:
            if self._is_output_late:
                # The command that was given up prints its output before QEMU runs this one.
                await self.execute_raw("query-version", timeout=math.inf)
                self._is_output_late = False
            start = process.output_size()
            try:
                reply = await self.execute(command, timeout=math.inf)
            except asyncio.CancelledError:
                self._is_output_late = True
                raise
            return reply, process.output(start=start)

    async def schema(self) -> Schema:
        """Return the connected QEMU's own schema (``query-qmp-schema``), which is fetched once."""
        async with within(self._deadline(None), "the reply to query-qmp-schema"):
            return await self._gate.schema()

    async def _ask_schema(self) -> Schema:
        # Without a limit: each command that waits for the schema has its own.
        reply = await self._transport.execute("query-qmp-schema", {}, Deadline(None))
        return Schema.from_json(reply)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._command_timeout if timeout is None else timeout)

    # -- events -------------------------------------------------------------------------

    @overload
    def events(self) -> AsyncEventStream[Event]: ...
    @overload
    def events(self, *kinds: type[E] | EventSelector[E]) -> AsyncEventStream[E]: ...
    def events(
        self, *kinds: type[Event] | EventSelector[Event], **match: object
    ) -> AsyncEventStream[Event]:
        """Subscribe to the events of the given classes, or to all, from now on.

        ``where`` of a class selects by member: ``qmp.events(JobStatusChange.where(id="job0"))``.
        Raises UsageError for keywords.
        """
        stream = AsyncEventStream(self._events, self._stream_error, kinds, match)
        if not self.is_connected:
            stream._finish()
        return stream

    def _stream_error(self) -> BlockSdkError | None:
        return None if self._closed else self._transport.error

    def _on_end(self) -> None:
        self._owner.end(in_order=False)
        self._events.finish()
        self._lost.set()


def _over(client: QMPClient, on_message: OnMessage | None) -> Transport:
    # Only those who have a QMPClient pay for the import of qemu.qmp.
    from .client_transport import ClientTransport

    return ClientTransport(client, on_message)


def _encoded(command: object) -> tuple[str, JsonObject]:
    if not isinstance(command, Command):
        raise UsageError(f"{command!r} is not a command: give an instance of a command class")
    known = cast("Command[object]", command)
    return known._name, encode(known) if vars(known) else {}
