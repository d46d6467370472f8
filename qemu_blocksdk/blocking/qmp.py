# Generated from qmp/session.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.qmp.session.AsyncQmp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast, overload

from qemu_blocksdk.codec import Event
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.session import AsyncQmp

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from qemu.qmp import QMPClient

    from qemu_blocksdk.codec import Command, EventSelector, JsonValue
    from qemu_blocksdk.qmp.address import Address
    from qemu_blocksdk.qmp.messages import OnMessage
    from qemu_blocksdk.schema import Schema

    from .event_stream import EventStream

E = TypeVar("E", bound=Event)
R = TypeVar("R")


class Qmp(SyncProxy):
    """A QMP connection to a running QEMU or storage daemon.

    Made by :meth:`connect`, by :meth:`over`, or by the objects that start a QEMU. Every command
    has a time limit in seconds: ``timeout`` of the call, else ``command_timeout`` of the
    connection (``math.inf``: none). After a DeadlineExceeded or a cancellation it is unknown
    whether the command ran; the connection stays usable.
    """

    @property
    def _async(self) -> AsyncQmp:
        return cast("AsyncQmp", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    @classmethod
    def connect(
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
        work = AsyncQmp.connect(
            address,
            timeout=timeout,
            command_timeout=command_timeout,
            on_message=on_message,
        )
        return cls._of(background_loop.run(work))

    @classmethod
    def over(
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
            with await Qmp.over(client) as qmp:
                print(await qmp.execute(QueryJobs()))
        """
        work = AsyncQmp.over(
            client,
            timeout=timeout,
            command_timeout=command_timeout,
            on_message=on_message,
        )
        return cls._of(background_loop.run(work))

    def close(self) -> None:
        """Close the connection; commands in flight end with ConnectionLost. May be repeated.

        A QMPClient that the session is over stays connected.
        """
        return background_loop.run(self._async.close())

    @property
    def version(self) -> tuple[int, int, int]:
        """The QEMU version from the greeting: major, minor, micro."""
        return self._async.version

    @property
    def is_connected(self) -> bool:
        """Whether commands can still be sent."""
        return self._async.is_connected

    def wait_lost(self, *, timeout: float | None = None) -> None:
        """Wait until the connection has ended, whoever ended it. Raises DeadlineExceeded."""
        return background_loop.run(self._async.wait_lost(timeout=timeout))

    def execute(
        self,
        command: Command[R],
        *,
        timeout: float | None = None,
        oob: bool = False,
    ) -> R:
        """Send a typed command and return its typed reply.

        ``oob`` sends it out of band, past commands that are still running. Raises
        CommandError when QEMU refuses, Unsupported or UsageError when it is not sent,
        ConnectionLost, DeadlineExceeded.
        """
        return self._async.execute_from_thread(command, timeout=timeout, oob=oob)

    def execute_with_fd(self, command: Command[R], fd: int, *, timeout: float | None = None) -> R:
        """Like :meth:`execute`, and pass QEMU a copy of an open descriptor (SCM_RIGHTS).

        Raises UsageError for a number that is no open descriptor, Unsupported where the
        connection is not by a unix socket.
        """
        return background_loop.run(self._async.execute_with_fd(command, fd, timeout=timeout))

    def send_fd(self, fd: int) -> None:
        """Pass QEMU a copy of an open descriptor, for the command that is sent next.

        Raises UsageError for a number that is no open descriptor, Unsupported where the
        connection is not by a unix socket, DeadlineExceeded where QEMU does not read within the
        ``command_timeout``.
        """
        return background_loop.run(self._async.send_fd(fd))

    def execute_raw(
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
        return self._async.execute_raw_from_thread(name, arguments, timeout=timeout, oob=oob)

    def schema(self) -> Schema:
        """Return the connected QEMU's own schema (``query-qmp-schema``), which is fetched once."""
        return background_loop.run(self._async.schema())

    @overload
    def events(self) -> EventStream[Event]:
        ...

    @overload
    def events(self, *kinds: type[E] | EventSelector[E]) -> EventStream[E]:
        ...

    def events(
        self,
        *kinds: type[Event] | EventSelector[Event],
        **match: object,
    ) -> EventStream[Event]:
        """Subscribe to the events of the given classes, or to all, from now on.

        ``where`` of a class selects by member: ``qmp.events(JobStatusChange.where(id="job0"))``.
        Raises UsageError for keywords.
        """
        background_loop.assert_running()
        from . import EventStream

        return cast("EventStream[Event]", EventStream._of(background_loop.call(
            lambda: self._async.events(*kinds, **match)
        )))
