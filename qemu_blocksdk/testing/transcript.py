"""The transcript of a QMP session: one line of JSON for each message, as it goes over.

A :class:`Transcript` is told of messages (``on_message``) by the connections that it was
given to. They have taken out the secrets; what a message means is no business of this module.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable
from io import FileIO
from types import TracebackType
from typing import Self

from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import UsageError

from .text import filtered, to_text


class Transcript:
    """Writes what goes over QMP connections, while its block runs: commands, replies, events.

    A session from greeting to end::

        with Transcript("session.jsonl") as transcript, VM(on_message=transcript):

    Part of one::

        transcript = Transcript(lines.append)
        with VM(on_message=transcript) as vm:
            with transcript:

    ``to`` is a file, written anew by each block, or what is called with each line, without
    its end, from the connection's event loop. The keys are sorted as by :func:`log`.
    """

    def __init__(
        self,
        to: str | os.PathLike[str] | Callable[[str], object],
        *,
        filters: Iterable[Callable[[JsonObject], JsonObject]] = (),
    ) -> None:
        self._to = to
        self._filters = tuple(filters)
        # The block ends in a thread, the connections are in others.
        self._lock = threading.Lock()
        self._write: Callable[[str], object] | None = None
        self._file: FileIO | None = None
        self._failure: Exception | None = None

    def __call__(self, message: JsonObject) -> None:
        """Write a message, as a connection does."""
        with self._lock:
            if self._write is None or self._failure is not None:
                return
            try:
                self._write(to_text(filtered(message, self._filters)))
            except Exception as error:  # noqa: BLE001 - raised at the end of the block
                self._failure = error

    def __enter__(self) -> Self:
        """Begin. Raises UsageError for a file that cannot be written, and while it runs."""
        if self._write is not None:
            raise UsageError("this transcript is being written already")
        self._failure = None
        if callable(self._to):
            self._write = self._to
            return self
        try:
            self._file = FileIO(os.fspath(self._to), "w")
            self._begin()
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
        """End. Raises UsageError where a line could not be made or written, from its cause."""
        with self._lock:
            self._write = None
            self._close()
        if self._failure is not None and error is None:
            what = f"the transcript ends early: {self._failure}"
            raise UsageError(what) from self._failure

    def _begin(self) -> None:
        """Write what the file begins with."""

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
