"""qemu-io: the lines that it takes, and its results as values. Nothing runs here."""

from __future__ import annotations

import os
from typing import Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError

MAX = (1 << 63) - 1
"""The largest offset that there is."""

_MAX_LINE = 1022  # more than 1023 bytes, the line break among them, it takes for two lines

Operation = Literal["read", "write", "discard"]


class IoResult(Value):
    """What a request did.

    ``elapsed`` is in seconds, None where qemu-io does not know it. ``pattern_matches`` is
    None where no pattern was to be looked for.
    """

    operation: Operation
    offset: int
    bytes_done: int
    bytes_asked: int
    operations: int
    elapsed: float | None = None
    pattern_matches: bool | None = None


class IoFailure(Value):
    """An asynchronous request that failed; qemu-io does not say which.

    ``error`` is the system's word for it: ``Input/output error``.
    """

    operation: Operation
    error: str


class IoExtent(Value):
    """A part of an image, in bytes: allocated in its topmost layer, or not."""

    offset: int
    length: int
    allocated: bool


class IoInfo(Value):
    """What qemu-io knows of an image's format; ``text`` has all of it.

    ``cluster_size`` is in bytes, None for a format without clusters.
    """

    format: str
    cluster_size: int | None = None
    text: str


class Request(Value):
    """A request as it is asked for: its line, and what is needed to understand the report."""

    line: str
    operation: Operation
    offset: int
    bytes_asked: int
    has_pattern: bool


_Option = str | int | bool | None


def request(command: str, offset: int, *lengths: int, **options: _Option) -> Request:
    """Return a request for ``lengths`` bytes at ``offset``. Raises as :func:`line`."""
    if not lengths:
        raise UsageError(f"{command} at {offset} of what length?")
    pattern = options.get("P")
    if pattern is not None and not 0 <= int(pattern) <= 255:
        raise UsageError(f"a pattern is a byte, 0 to 255, not {pattern}")
    kind = command.removeprefix("aio_").removesuffix("v")
    operation: Operation = "read" if kind == "read" else "write" if kind == "write" else "discard"
    return Request(
        line=line(command, offset, *lengths, C=not command.startswith("aio_"), **options),
        operation=operation,
        offset=offset,
        bytes_asked=sum(lengths),
        has_pattern=pattern is not None and kind == "read",
    )


def line(command: str, *arguments: str | int, **options: _Option) -> str:
    """Return a command line; options are letters, True for one without a value.

    Raises UsageError for a negative number, for one that is too large, and for a word that
    qemu-io would split.
    """
    words: list[str | int] = [command]
    for letter, value in options.items():
        if value is not None and value is not False:
            words += [f"-{letter}"] if value is True else [f"-{letter}", value]
    words += arguments
    for word in words:
        if isinstance(word, int) and not 0 <= word <= MAX:
            raise UsageError(f"{command}: {word} is no offset or length in bytes")
        if isinstance(word, str) and (not word or " " in word):
            raise UsageError(f"{command}: qemu-io splits at spaces, so it cannot take {word!r}")
    return checked(" ".join(map(str, words)))


def checked(text: str) -> str:
    """Return a line that is one command. Raises UsageError for none, more, or one too long."""
    if not text.strip(" ") or "\n" in text or "\0" in text:
        raise UsageError(f"{text!r} is not one command of qemu-io")
    if text.split()[0] in ("q", "quit"):
        raise UsageError("the session is ended by close(), not by a command")
    if len(os.fsencode(text)) > _MAX_LINE:
        raise UsageError(f"a command of qemu-io has {_MAX_LINE} bytes at most: {text[:40]!r} ...")
    return text
