"""The protocol between a session and what carries its messages.

A transport sends commands, matches replies to them and delivers events; ``session`` gives them
types. Implementations: ``socket_transport`` (a socket of our own) and ``client_transport`` (a
``qemu.qmp.QMPClient`` of the caller). Ids of commands are the transport's own matter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Protocol

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import BlockSdkError

from .deadline import Deadline

QemuVersion = tuple[int, int, int]
"""A QEMU version: major, minor, micro."""

NO_DESCRIPTORS = "way to take a descriptor: that needs a monitor on a unix socket"
"""What a transport lacks (``Unsupported``) where the connection is not by a unix socket."""


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


class Transport(Protocol):
    """Carry the commands, replies and events of one QMP session."""

    @property
    def process(self) -> Peer | None:
        """The process behind the connection; None where it is not known."""
        ...

    @property
    def error(self) -> BlockSdkError | None:
        """Why the transport has ended, as an exception to raise; None while it is open."""
        ...

    async def open(
        self,
        *,
        on_event: Callable[[JsonObject], None],
        on_end: Callable[[], None],
        timeout: float,
    ) -> QemuVersion:
        """Connect and negotiate within ``timeout`` seconds; return QEMU's version.

        ``on_event`` is called in the event loop with each event message. ``on_end`` is called
        once, when the transport has ended by itself: ``error`` is set then, and all commands in
        flight have failed with it. :meth:`close` does not call it.

        Raises ConnectionLost, DeadlineExceeded; UsageError where the transport cannot be used here.
        """
        ...

    async def execute(
        self,
        name: str,
        arguments: JsonObject,
        deadline: Deadline,
        *,
        oob: bool = False,
        fd: int | None = None,
    ) -> JsonValue:
        """Send a command; return the value of its reply.

        ``oob`` sends it out of band; ``fd`` is a descriptor that QEMU gets a copy of. Cancelled,
        or at the deadline, only the wait ends: the transport stays usable, and the late reply is
        dropped. Raises CommandError, MalformedReply, ConnectionLost, DeadlineExceeded; Unsupported
        or UsageError where nothing was sent.
        """
        ...

    def execute_from_thread(
        self, name: str, arguments: JsonObject, deadline: Deadline, *, oob: bool = False
    ) -> JsonValue:
        """Like :meth:`execute`, for a thread that does not run the event loop.

        Raises UsageError where the transport serves async callers only.
        """
        ...

    async def send_fd(self, fd: int) -> None:
        """Pass QEMU a copy of an open descriptor, for the command that is sent next.

        Raises UsageError for a number that is no open descriptor, Unsupported where the
        connection is not by a unix socket.
        """
        ...

    def close(self) -> None:
        """End the session; commands in flight fail with ConnectionLost. May be repeated."""
        ...


def fresh(error: BlockSdkError) -> BlockSdkError:
    """Return a copy to raise: an exception collects the traceback of each place that raises it."""
    return copy.copy(error)
