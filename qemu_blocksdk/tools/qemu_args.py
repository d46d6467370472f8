"""Command line arguments of QEMU and qemu-storage-daemon.

JSON wherever the option takes it. Nothing here starts a program or holds a secret: an argument
that would show one is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from qemu_blocksdk.blockdev.drive import Drive, drive_texts
from qemu_blocksdk.codec import Struct, Value, keyval, redact
from qemu_blocksdk.errors import UsageError

from .target import json_word

Program = str | os.PathLike[str] | Sequence[str]
"""A path, a name in PATH, or that with options (``Programs.qemu``)."""

MonitorAddress = str | os.PathLike[str] | tuple[str, int]
"""Where a further QMP monitor listens: a unix socket's path, or a TCP host and port."""

_CONSOLE = "blocksdk-console"


class Chardev(Value):
    """A ``-chardev``: with QEMU's names of the backend and its options.

    ``Chardev(id="log", backend="file", options={"path": "serial.log"})``
    """

    id: str
    backend: str
    options: Mapping[str, str | int | bool] | None = None

    def arg(self) -> str:
        """Return the argument of ``-chardev``. Raises UsageError where it would show a secret."""
        return f"{self.backend},{_shown('chardev', {'id': self.id, **(self.options or {})})}"


class Console(Value):
    """A console of the guest that is ours to read and write.

    The machine's serial port of that ``index``, or else a ``device`` (``virtconsole``).
    """

    device: str | None = None
    index: int = 0

    def args(self, fd: int) -> list[str]:
        """Return the options that put it on a connected socket."""
        args = ["-chardev", f"socket,id={_CONSOLE},fd={fd}", *("-serial", "null") * self.index]
        if self.device is None:
            return [*args, "-serial", f"chardev:{_CONSOLE}"]
        return [*args, "-device", keyval({"driver": self.device, "chardev": _CONSOLE})]


class InheritedFd(Value):
    """An open descriptor of ours that QEMU has from its launch on, as ``/dev/fdset/FDSET``.

    It stays ours to close. ``opaque`` is what ``query-fdsets`` tells of it.
    """

    fd: int
    fdset: int
    opaque: str | None = None

    def arg(self) -> str:
        """Return the argument of ``-add-fd``."""
        return _shown("fd", {"fd": self.fd, "set": self.fdset, "opaque": self.opaque})


def json_args(option: str, described: Iterable[Struct]) -> list[str]:
    """Return the option with JSON, once for each value. Raises UsageError as ``json_word``."""
    return [arg for value in described for arg in (option, json_word(value))]


def plain_args(option: str, described: Iterable[Chardev | InheritedFd]) -> list[str]:
    """Return the option, once for each value. Raises UsageError where it would show a secret."""
    return [arg for value in described for arg in (option, value.arg())]


def drive_args(drives: Iterable[Drive]) -> list[str]:
    """Return ``-drive``, once for each. Raises UsageError where it would show a secret."""
    return [arg for drive in drives for arg in ("-drive", _shown("drive", drive_texts(drive)))]


def _shown(what: str, given: Mapping[str, str | int | bool | None]) -> str:
    texts = {name: value for name, value in given.items() if value is not None}
    if redact(texts) != texts:
        raise UsageError(f"the {what} holds a secret that a command line would show")
    return keyval(texts)
