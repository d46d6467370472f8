"""The file of a recorded session: its first line says what it is, the others are a transcript.

So a line is a message: what has ``execute`` or ``exec-oob`` was sent by the client, all else by
QEMU. What the messages mean is no business of this module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from qemu_blocksdk.codec import JsonObject, JsonValue, Value
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.transcript import Transcript

_FORMAT: Final = "qmp-recording"
_VERSION: Final = 1


class Recording(Value):
    """The messages of a session, in their order; ``pid`` is the process that recorded them."""

    messages: tuple[JsonObject, ...]
    pid: int


def record(
    path: str | os.PathLike[str], *, filters: Iterable[Callable[[JsonObject], JsonObject]] = ()
) -> Transcript:
    """Return what writes a QMP session to a file that a :class:`ReplayServer` can play::

        with record("session.jsonl") as recording, VM(on_message=recording) as vm:

    It is a :class:`Transcript`, thus without secrets, and without a reply that is nothing but a
    text (of ``human-monitor-command``, of ``qom-get``). The block has to be there when the
    connection is made.
    """
    return _Recorder(path, filters=filters)


class _Recorder(Transcript):
    def _begin(self) -> None:
        self._write_line(json.dumps({_FORMAT: _VERSION, "pid": os.getpid()}))


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a recorded session. Raises UsageError for a file that holds none."""
    name = os.fspath(path)
    try:
        head, *lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, a NUL character
        raise UsageError(f"cannot read the recording {name!r}: {error}") from error
    header = _object(head)
    if header is None or not isinstance(version := header.get(_FORMAT), int):
        raise UsageError(f"{name!r} is no recording of a QMP session")
    if version != _VERSION:
        raise UsageError(f"{name!r} is a recording of version {version}, not {_VERSION}")
    if not lines or lines.pop():
        raise UsageError(f"{name!r} ends in the middle of a line: it was cut off")
    messages: list[JsonObject] = []
    for number, line in enumerate(lines, 2):
        message = _object(line)
        if message is None:
            raise UsageError(f"line {number} of {name!r} is no message of QMP")
        messages.append(message)
    pid = header.get("pid")
    return Recording(messages=tuple(messages), pid=pid if isinstance(pid, int) else 0)


def _object(line: str) -> JsonObject | None:
    try:
        found: JsonValue = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None
