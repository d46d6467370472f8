"""What a QEMU is told at its launch: the values that users describe it with, and their words.

JSON wherever the option takes it. Descriptors travel in a :class:`Handover`; what a running
QEMU is told by QMP belongs to its objects.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypedDict, cast

from qemu_blocksdk.blockdev.drive import Drive, drive_texts
from qemu_blocksdk.codec import JsonObject, Secret, Struct, Unknown, Value, encode, keyval, redact
from qemu_blocksdk.errors import LaunchError, UsageError
from qemu_blocksdk.qmp import OnMessage, ServerKind
from qemu_blocksdk.qmp.address import words as address_words
from qemu_blocksdk.tools.run import handed_over
from qemu_blocksdk.tools.target import json_word

from .listener import ListeningSocket, checked

if TYPE_CHECKING:
    from qemu_blocksdk.wire import BlockdevOptions, NbdServerStart, ObjectOptions

Program = str | os.PathLike[str] | Sequence[str]
"""A path, a name in PATH, or that with options (``Programs.qemu``)."""

MonitorAddress = str | os.PathLike[str] | tuple[str, int]
"""Where a further QMP monitor listens: a unix socket's path, or a TCP host and port."""

_CONSOLE = "blocksdk-console"


class Chardev(Value):
    """A ``-chardev``: ``backend`` and ``options`` are QEMU's words for it.

    ``Chardev(id="log", backend="file", options={"path": "serial.log"})``
    """

    id: str
    backend: str
    options: Mapping[str, str | int | bool] | None = None

    def word(self) -> str:
        """Return the argument of ``-chardev``. Raises UsageError where it would show a secret."""
        return f"{self.backend},{_shown('chardev', {'id': self.id, **(self.options or {})})}"


class Console(Value):
    """A console of the guest that is ours to read and write.

    The machine's serial port of that ``index``, or else a ``device`` (``virtconsole``).
    """

    device: str | None = None
    index: int = 0

    def words(self, fd: int) -> list[str]:
        """Return the options that put it on a connected socket."""
        words = ["-chardev", f"socket,id={_CONSOLE},fd={fd}", *("-serial", "null") * self.index]
        if self.device is None:
            return [*words, "-serial", f"chardev:{_CONSOLE}"]
        return [*words, "-device", keyval({"driver": self.device, "chardev": _CONSOLE})]


class InheritedFd(Value):
    """An open descriptor of ours that QEMU has from its launch on, as ``/dev/fdset/FDSET``.

    It stays ours to close. ``opaque`` is what ``query-fdsets`` tells of it.
    """

    fd: int
    fdset: int
    opaque: str | None = None

    def word(self) -> str:
        """Return the argument of ``-add-fd``."""
        return _shown("fd", {"fd": self.fd, "set": self.fdset, "opaque": self.opaque})


class QemuOptions(TypedDict, total=False):
    """What every QEMU can be told at its launch, in the order in which QEMU gets it."""

    chardevs: Sequence[Chardev]
    monitors: Sequence[MonitorAddress]
    """Where others may connect by QMP (``attach``)."""
    secrets: Mapping[str, Secret]
    """By the ids that options refer to (``key_secret``); no command line shows them."""
    objects: Sequence[ObjectOptions]
    blockdevs: Sequence[BlockdevOptions]
    args: Sequence[str]
    """What comes last on the command line, as it is."""
    pass_fds: Sequence[int]
    """Open descriptors that it inherits under their numbers, for ``args`` that name them."""
    launch_timeout: float
    """Seconds."""
    command_timeout: float
    """Seconds that a command may take that names no limit itself."""
    on_message: OnMessage
    """Called with each QMP message of either direction (``AsyncQmp.connect``)."""
    qmp_id: str
    """The id of the chardev that our own QMP connection has, which ``query-chardev`` shows."""


class Handover:
    """What a child inherits. Leaving the block closes the child's ends here.

    What of it is ours for as long as the child lives is in ``ours``.
    """

    def __init__(self, kind: ServerKind, qmp_id: str) -> None:
        self.fds: list[int] = []
        self.ours: contextlib.ExitStack[bool | None] = contextlib.ExitStack()
        self._theirs = contextlib.ExitStack()
        self._kind: ServerKind = kind
        self.has_monitor_object: bool = False
        """Whether the binary is known to have the object type ``monitor-qmp``."""
        self._qmp_id = qmp_id
        self.qmp: socket.socket
        self.qmp, self._qmp_fd = self.channel()

    def channel(self) -> tuple[socket.socket, int]:
        """Return our end of a pair of sockets, and the child's descriptor of the other."""
        ours, theirs = socket.socketpair()
        self._theirs.enter_context(theirs)
        self.fds.append(theirs.fileno())
        return ours, theirs.fileno()

    def qmp_words(self) -> list[str]:
        """Return the options that offer QMP on our own channel."""
        return self._monitor_words(self._qmp_id, f"fd={self._qmp_fd}")

    async def listening_words(self, addresses: Iterable[MonitorAddress]) -> list[str]:
        """Listen at each address; return the options that offer QMP there. Raises LaunchError."""
        words: list[str] = []
        for number, address in enumerate(addresses):
            socket_words = f"fd={await self._listening(address)},server=on,wait=off"
            words += self._monitor_words(f"blocksdk-monitor{number}", socket_words)
        return words

    async def nbd_words(self, server: NbdServerStart) -> list[str]:
        """Return ``--nbd-server``, which has QMP's members, but a flat address."""
        address = encode(server.addr)
        flat: JsonObject = {"type": address["type"], **cast("JsonObject", address["data"])}
        if flat["type"] == "unix" and not flat.get("abstract"):
            # QEMU 7.2: the storage daemon takes away the socket of another and leaves its own
            # behind, so it inherits one of ours.
            flat = {"type": "fd", "str": str(await self._listening(str(flat["path"])))}
        members = {**encode(server), "addr": flat}
        return json_words("--nbd-server", [Unknown(tag=None, members=members)])

    async def _listening(self, address: MonitorAddress) -> int:
        try:
            listener = await ListeningSocket.at(checked(address))
        except OSError as error:
            where = address_words(address)
            raise LaunchError(f"cannot listen at {where}: {error}", argv=()) from error
        self._theirs.enter_context(listener)
        self.ours.callback(listener.remove)
        self.fds.append(listener.sock.fileno())
        return listener.sock.fileno()

    def _monitor_words(self, id: str, socket_words: str) -> list[str]:
        if self.has_monitor_object:
            monitor = ["-object", f"monitor-qmp,id={id},chardev={id}"]
        elif self._kind == "storage-daemon":
            monitor = ["--monitor", f"chardev={id}"]
        else:
            # QEMU 11.1: -mon is deprecated, -qmp is not.
            monitor = ["-qmp", f"chardev:{id}"]
        return ["--chardev", f"socket,id={id},{socket_words}", *monitor]

    def secret_words(self, secrets: Mapping[str, Secret]) -> list[str]:
        """Return the options that define the secrets."""
        words, fds = self._theirs.enter_context(handed_over(secrets))
        self.fds += fds
        return words

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._theirs.close()


def json_words(option: str, described: Iterable[Struct]) -> list[str]:
    """Return the option with JSON, once for each value. Raises UsageError as ``json_word``."""
    return [word for value in described for word in (option, json_word(value))]


def plain_words(option: str, described: Iterable[Chardev | InheritedFd]) -> list[str]:
    """Return the option, once for each value. Raises UsageError where it would show a secret."""
    return [word for value in described for word in (option, value.word())]


def drive_words(drives: Iterable[Drive]) -> list[str]:
    """Return ``-drive``, once for each. Raises UsageError where it would show a secret."""
    return [word for drive in drives for word in ("-drive", _shown("drive", drive_texts(drive)))]


def _shown(what: str, given: Mapping[str, str | int | bool | None]) -> str:
    texts = {name: value for name, value in given.items() if value is not None}
    if redact(texts) != texts:
        raise UsageError(f"the {what} holds a secret that a command line would show")
    return keyval(texts)
