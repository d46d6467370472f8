"""The transcript of a QMP session: one line of JSON for each message, in order.

Connections call a :class:`Transcript` with each message (``on_message``), after they have replaced
secrets. This module does not interpret messages.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from io import FileIO
from types import TracebackType
from typing import Self

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.mounts import is_mount_point

from .text import filtered, to_text


class Transcript:
    """Writes the messages of QMP connections while its block runs: commands, replies, events.

    A session from greeting to end::

        with Transcript("session.jsonl") as transcript, VM(on_message=transcript):

    Part of one::

        transcript = Transcript(lines.append)
        with VM(on_message=transcript) as vm:
            with transcript:

    ``to`` is a file, or a function that the connection's event loop calls with each line, without
    its end. A new file is private to this user (0600); ``replace`` lets each block overwrite an
    existing file, which keeps its owner and mode. Keys are sorted as by :func:`log`.
    """

    def __init__(
        self,
        to: str | os.PathLike[str] | Callable[[str], object],
        *,
        filters: Iterable[Callable[[JsonObject], JsonObject]] = (),
        replace: bool = False,
    ) -> None:
        self._to = to
        self._replace = replace
        self._filters = tuple(filters)
        # The block ends in a thread, the connections are in others.
        self._lock = threading.Lock()
        self._write: Callable[[str], object] | None = None
        self._file: FileIO | None = None
        self._failure: Exception | None = None

    def __call__(self, message: JsonObject) -> None:
        """Write a message; the connection calls this."""
        with self._lock:
            if self._write is None or self._failure is not None:
                return
            try:
                self._write(to_text(filtered(message, self._filters)))
            except Exception as error:  # noqa: BLE001 - raised at the end of the block
                self._failure = error

    def __enter__(self) -> Self:
        """Begin to write.

        Raises UsageError for a file that exists or cannot be written, and while the block runs.
        """
        if self._write is not None:
            raise UsageError("this transcript is being written already")
        self._failure = None
        if callable(self._to):
            self._write = self._to
            return self
        try:
            self._file, is_new = _opened(os.fspath(self._to), replace=self._replace)
            try:
                self._begin()
            except OSError:
                if is_new:
                    os.unlink(self._to)  # noqa: PTH108 - a str may hold any bytes
                raise
        except (OSError, ValueError) as error:  # ValueError: a NUL character
            self._close()
            raise UsageError(f"cannot write the transcript: {error}") from error
        self._write = self._write_line
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop. Raises UsageError if a line could not be written, with its cause."""
        with self._lock:
            self._write = None
            self._close()
        if self._failure is not None and error is None:
            what = f"the transcript ends early: {self._failure}"
            raise UsageError(what) from self._failure

    def _begin(self) -> None:
        """Write the beginning of the file."""

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_line(self, line: str) -> None:
        assert self._file is not None
        data = line.encode() + b"\n"
        # One call of the system, so that nothing ends it in the middle but a full disk.
        if (written := self._file.write(data)) < len(data):
            self._file.truncate(self._file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __repr__(self) -> str:
        to = "a function" if callable(self._to) else repr(os.fspath(self._to))
        return f"<transcript to {to}>"


def _opened(path: str, *, replace: bool) -> tuple[FileIO, bool]:
    """Open a file to write; return whether it is a new one. Raises OSError, UsageError."""
    # Not blocking: a FIFO would wait for its reader.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return FileIO(os.open(path, flags | os.O_EXCL, 0o600), "w"), True
    except FileExistsError:
        if not replace:
            raise UsageError(f"{path!r} exists already: replace=True overwrites it") from None
    file = FileIO(os.open(path, flags, 0o600), "w")
    try:
        mode = os.fstat(file.fileno()).st_mode
        if is_mount_point(os.path.realpath(path)):
            raise UsageError(f"{path!r} is a mount point: it is not overwritten")
        if stat.S_ISREG(mode):
            file.truncate()
        elif not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            raise UsageError(f"{path!r} is neither a regular file nor a device")
        os.set_blocking(file.fileno(), True)
    except BaseException:
        file.close()
        raise
    return file, False
