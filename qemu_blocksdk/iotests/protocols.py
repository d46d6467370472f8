"""Connections that scripts make by themselves: a QMP monitor, and the channel of qtest."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO

import qemu_blocksdk as typed
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    LaunchError,
    UsageError,
)
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.testing.event_queue import QueuedQmp

from .machine import Message, QMPResponseError

Address = str | tuple[str, int]
"""The path of a unix socket, or a host and a port."""


class QMPBadPortError(UsageError):
    """An address names a port that is no number."""


class QMPProtocolError(BlockSdkError):
    """A reply is none of QMP."""


class _Channel:
    """A socket that connects, or that waits for one that does, by an address."""

    def __init__(self, address: Address, server: bool) -> None:
        self.is_unix = not isinstance(address, tuple)
        self._family = socket.AF_UNIX if self.is_unix else socket.AF_INET
        self._address = address
        self._socket: socket.socket | None = None
        self._listener: socket.socket | None = None
        if server:
            self._listener = socket.socket(self._family, socket.SOCK_STREAM)
            try:
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._listener.bind(address)
                self._listener.listen(1)
            except BaseException:
                self._listener.close()
                raise

    def connect(self) -> socket.socket:
        """Connect. Raises OSError."""
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            self._socket.connect(self._address)
        except BaseException:
            self.close()
            raise
        return self._socket

    def accept(self, timeout: float | None) -> socket.socket:
        """Wait for a peer. Raises OSError, TimeoutError."""
        if self._listener is None:
            raise UsageError("accept() needs server=True")
        self._listener.settimeout(timeout)
        self._socket, _ = self._listener.accept()
        return self._socket

    def close(self) -> None:
        """Close what is open."""
        for sock in (self._socket, self._listener):
            if sock is not None:
                sock.close()
        self._socket = self._listener = None


@sealed_class
class QEMUMonitorProtocol:
    """A QMP monitor by its address, with whole replies as dictionaries."""

    def __init__(self, address: Address, server: bool = False, nickname: str | None = None) -> None:
        """Describe it; with ``server`` it listens from now on, and QEMU connects.

        ``nickname`` names it in logs. Raises OSError.
        """
        self.nickname = nickname
        self._channel = _Channel(address, server)
        self._timeout: float | None = None
        self._qmp: typed.Qmp | None = None
        self._queue: QueuedQmp | None = None
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    @classmethod
    def parse_address(cls, address: str) -> Address:
        """Return the address of a text: ``HOST:PORT``, or else a path. Raises QMPBadPortError."""
        host, colon, port = address.partition(":")
        if not colon:
            return address
        try:
            return host, int(port)
        except ValueError as error:
            raise QMPBadPortError(f"bad port {port!r} in {address!r}") from error

    def connect(self, negotiate: bool = True) -> Message | None:
        """Connect, and negotiate; return the greeting, None without ``negotiate``.

        Raises OSError when nobody is there, LaunchError when the peer is no QMP server.
        """
        return self._begin(self._channel.connect(), negotiate)

    def accept(self, timeout: float | None = 15.0) -> Message:
        """Wait for QEMU to connect, and negotiate; return the greeting.

        Raises TimeoutError after ``timeout`` seconds, LaunchError when the peer is no QEMU.
        """
        greeting = self._begin(self._channel.accept(timeout), True)
        assert greeting is not None
        return greeting

    def _begin(self, sock: socket.socket, negotiate: bool) -> Message | None:
        said: list[Mapping[str, Any]] = []
        self._fd = sock.fileno()
        try:
            self._qmp = typed.Qmp.connect(sock, command_timeout=math.inf, on_message=said.append)
        except ConnectionLost as error:
            self.close()
            raise LaunchError(str(error), argv=()) from error
        self._queue = QueuedQmp(self._qmp)
        return dict(said[0]) if negotiate else None

    def _connected(self) -> QueuedQmp:
        if self._queue is None:
            raise UsageError("there is no connection: call connect() or accept() first")
        return self._queue

    def cmd_obj(self, qmp_cmd: Mapping[str, Any]) -> Message:
        """Send a command as QMP has it; return the whole reply."""
        arguments: Message = qmp_cmd.get("arguments") or {}
        return self._send(qmp_cmd["execute"], arguments)

    def cmd(self, name: str, args: Mapping[str, Any] | None = None, cmd_id: Any = None) -> Message:
        """Send a command; return the whole reply, with ``cmd_id`` as its id where that is given."""
        reply = self._send(name, args or {})
        return reply if cmd_id is None else {**reply, "id": cmd_id}

    def command(self, cmd: str, **kwds: Any) -> Any:
        """Send a command; return what its reply returns. Raises QMPResponseError."""
        reply = self._send(cmd, kwds)
        if "error" in reply:
            raise QMPResponseError(reply)
        return reply["return"]

    def _send(self, name: str, arguments: Mapping[str, Any]) -> Message:
        self._connected()
        assert self._qmp is not None
        try:
            return {"return": self._qmp.execute_raw(name, arguments, timeout=self._timeout)}
        except CommandError as error:
            return {"error": {"class": error.error_class, "desc": error.desc}}

    def pull_event(self, wait: bool | float = False) -> Any:
        """Return the first event that is there, or comes in the time; None for none."""
        return self._connected().get_qmp_event(wait)

    def get_events(self, wait: bool | float = False) -> list[Any]:
        """Return all events that are there, or the first that comes in the time."""
        return list(self._connected().get_qmp_events(wait))

    def clear_events(self) -> None:
        """Forget the events that are there."""
        self._connected().get_qmp_events()

    def settimeout(self, timeout: float | None) -> None:
        """Set the time limit of commands in seconds; None for none. Raises UsageError for 0."""
        if timeout == 0:
            raise UsageError("a time limit of 0 leaves no time for a reply; None is no limit")
        self._timeout = timeout

    def get_sock_fd(self) -> int:
        """Return the descriptor of the socket."""
        return self._fd

    def is_scm_available(self) -> bool:
        """Tell whether descriptors can be sent: over a unix socket."""
        return self._channel.is_unix

    def close(self) -> None:
        """Close the connection and what listens."""
        self._queue = None
        if self._qmp is not None:
            with suppress(BlockSdkError):
                self._qmp.close()
            self._qmp = None
        self._channel.close()


@sealed_class
class QEMUQtestProtocol:
    """The channel of qtest by its address: a line asks, a line answers."""

    def __init__(self, address: Address, server: bool = False) -> None:
        """Describe it; with ``server`` it listens from now on, and QEMU connects."""
        self._channel = _Channel(address, server)
        self._socket: socket.socket | None = None
        self._lines: TextIO | None = None

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self._begin(self._channel.connect())

    def accept(self) -> None:
        """Wait for QEMU to connect. Raises OSError."""
        self._begin(self._channel.accept(None))

    def _begin(self, sock: socket.socket) -> None:
        self._socket, self._lines = sock, sock.makefile("r")

    def cmd(self, qtest_cmd: str) -> str:
        """Send a line; return the line that answers."""
        if self._socket is None or self._lines is None:
            raise UsageError("there is no connection: call connect() or accept() first")
        self._socket.sendall(f"{qtest_cmd}\n".encode())
        return self._lines.readline()

    def close(self) -> None:
        """Close the connection and what listens."""
        if self._lines is not None:
            self._lines.close()
        self._socket = self._lines = None
        self._channel.close()

    def settimeout(self, timeout: float | None) -> None:
        """Set the time limit of each read in seconds; None for none."""
        if self._socket is not None:
            self._socket.settimeout(timeout)
