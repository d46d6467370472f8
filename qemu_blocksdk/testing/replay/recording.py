"""The file of a recorded session: a header line, then a transcript.

Each line is a message. A message with ``execute`` or ``exec-oob`` came from the client, every other
from QEMU. A reply belongs to its command, an event to the command before it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from qemu_blocksdk.codec import JsonObject, JsonValue, Value
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.transcript import Transcript

from .exchange import Exchange, command_of
from .fault import HangUp

_FORMAT: Final = "qmp-recording"
_VERSION: Final = 1


class Session(Value):
    """A session as data; ``pid`` is the process that recorded it, or 0."""

    greeting: JsonObject
    exchanges: Sequence[Exchange]
    pid: int = 0


def record(
    path: str | os.PathLike[str],
    *,
    filters: Iterable[Callable[[JsonObject], JsonObject]] = (),
    replace: bool = False,
) -> Transcript:
    """Record a QMP session to a file that a :class:`ReplayServer` can play::

        with record("session.jsonl") as recording, VM(on_message=recording) as vm:

    The result is a :class:`Transcript`: it has no secrets, and no reply that is only a text (of
    ``human-monitor-command``, of ``qom-get``). The block has to begin before the connection.
    ``replace`` is as for a transcript.
    """
    return _Recorder(path, filters=filters, replace=replace)


class _Recorder(Transcript):
    def _begin(self) -> None:
        self._write_line(json.dumps({_FORMAT: _VERSION, "pid": os.getpid()}))


def read(path: str | os.PathLike[str]) -> Session:
    """Read a recorded session. Raises UsageError if the file has none."""
    name = os.fspath(path)
    try:
        head, *lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, a NUL character
        raise UsageError(f"cannot read the recording {name!r}: {error}") from error
    header = _object(head) or {}
    version, pid = header.get(_FORMAT), header.get("pid")
    if not isinstance(version, int):
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
    if not messages or "QMP" not in messages[0]:
        raise UsageError(f"{name!r} does not begin with QEMU's greeting: record from the start")
    return Session(
        greeting=messages[0],
        exchanges=_exchanges(messages),
        pid=pid if isinstance(pid, int) else 0,
    )


def _exchanges(messages: Sequence[JsonObject]) -> list[Exchange]:
    found: list[tuple[JsonObject, list[JsonObject]]] = []
    unanswered: dict[object, list[JsonObject]] = {}
    latest: list[JsonObject] = []
    for message in messages:
        if "QMP" in message:
            unanswered.clear()  # another connection
        elif name := command_of(message):
            says: list[JsonObject] = []
            found.append((message, says))
            unanswered[message.get("id")] = says
            if name != "query-qmp-schema":  # which may not be asked for another time
                latest = says
        elif "event" in message:
            latest.append(message)
        else:
            reply = {key: value for key, value in message.items() if key != "id"}
            unanswered.pop(message.get("id"), []).append(reply)
    return [
        Exchange(
            execute=command_of(command),
            arguments=cast("JsonObject | None", command.get("arguments")),
            says=says,
            # Where the session ended in place of a reply, QEMU had gone.
            fault=HangUp() if command is messages[-1] else None,
        )
        for command, says in found
    ]


def _object(line: str) -> JsonObject | None:
    try:
        found: JsonValue = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None
