"""What qemu-io prints, as values.

A command is told to report with ``-C``, so what it did is one line of numbers; the report
of an asynchronous request, which is printed in the midst of later answers, is always two
lines of prose. By that the two are told apart. An answer that is not of the form that
is looked for gives None: the command failed, and the answer says why.
"""

from __future__ import annotations

import re
from typing import cast

from .qemu_io import IoExtent, IoFailure, IoInfo, IoResult, Operation, Request

_MISMATCH = r"Pattern verification failed at offset \d+, \d+ bytes\n"
_REPORT = re.compile(
    r"^(?P<done>\d+),(?P<operations>\d+),(?P<time>[\d:.]+),[^,\n]+,(?P<rate>[^,\n]+)\n\Z",
    re.MULTILINE,
)
_ASIDE = re.compile(
    rf"^(?P<mismatch>{_MISMATCH})?"
    r"(?P<verb>read|wrote) (?P<done>\d+)/(?P<asked>\d+) bytes at offset (?P<offset>\d+)\n"
    r"[^,\n]*, (?P<operations>\d+) ops; (?P<time>[\d:.]+)[^(\n]*"
    r"\([^()\n]* and (?P<rate>[^\s()]+) ops/sec\)\n"
    r"|^(?P<failed>readv|aio_write) failed: (?P<error>.*)\n"
    r"|^blkdebug: (?:Suspended|Resuming) request '.*'\n",
    re.MULTILINE,
)
_COMPLAINT = re.compile(
    r"^(?![0-9a-f]{8,}:  ).*"
    r"(failed|not found|[Ii]nvalid|not a valid|non-numeric|bad argument|too large|[Cc]annot"
    r"|be specified)",
    re.MULTILINE,
)
_EXTENT = re.compile(
    r"[^(]*\(0x([0-9a-f]+)\) bytes +(not )?allocated at offset [^(]*\(0x([0-9a-f]+)\)"
)
_UNITS = {"bytes": 1, **{f"{letter}iB": 1 << 10 * n for n, letter in enumerate("KMGTPE", 1)}}


def report(text: str, request: Request) -> IoResult | None:
    """Return what a command did, by the line that its answer ends with."""
    found = _REPORT.search(text, max(text.rfind("\n", 0, -1), 0))
    if found is None:
        return None
    matches = re.search(_MISMATCH, text) is None if request.has_pattern else None
    return IoResult(
        operation=request.operation,
        offset=request.offset,
        bytes_done=int(found["done"]),
        bytes_asked=request.bytes_asked,
        operations=int(found["operations"]),
        elapsed=_elapsed(found),
        pattern_matches=matches,
    )


def without_asides(
    text: str, under_way: list[Request], *, age: float
) -> tuple[str, list[IoResult | IoFailure]]:
    """Part an answer from what asynchronous requests said in between.

    Those that ended are taken off the list of what is ``under_way``, unless they failed;
    ``age`` is for how many seconds qemu-io has been running.
    """
    ended: list[IoResult | IoFailure] = []

    def take(found: re.Match[str]) -> str:
        if found["failed"]:
            operation: Operation = "read" if found["failed"] == "readv" else "write"
            ended.append(IoFailure(operation=operation, error=found["error"]))
        elif found["verb"]:
            ended.append(_ended(found, under_way, age))
        return ""

    # For the sake of a large dump, which has none of these words.
    if any(word in text for word in ("ops;", "failed:", "blkdebug")):
        text = _ASIDE.sub(take, text)
    return text, ended


def _ended(found: re.Match[str], under_way: list[Request], age: float) -> IoResult:
    operation: Operation = "read" if found["verb"] == "read" else "write"
    offset, asked = int(found["offset"]), int(found["asked"])
    matches = False if found["mismatch"] else None
    for request in under_way:
        if (request.operation, request.offset, request.bytes_asked) == (operation, offset, asked):
            under_way.remove(request)
            matches = found["mismatch"] is None if request.has_pattern else None
            break
    elapsed = _elapsed(found)
    return IoResult(
        operation=operation,
        offset=offset,
        bytes_done=int(found["done"]),
        bytes_asked=asked,
        operations=int(found["operations"]),
        # QEMU 7.2 and 10.0: the time of an aio_write -z is counted from the start of the
        # machine, so we do not tell it.
        elapsed=elapsed if elapsed <= age else None,
        pattern_matches=matches,
    )


def _elapsed(found: re.Match[str]) -> float:
    seconds = 0.0
    for part in found["time"].split(":"):
        seconds = seconds * 60 + float(part)
    # Hundredths of a second are coarse for a fast request; the rate has more digits.
    rate = float(found["rate"])
    return int(found["operations"]) / rate if seconds < 1 and rate else seconds


def is_complaint(text: str) -> bool:
    """Whether an answer has a line, outside a hex dump, that says what went wrong."""
    return _COMPLAINT.search(text) is not None


def dumped(text: str, request: Request) -> bytes | None:
    """Return the bytes of a hex dump."""
    if report(text, request) is None:
        return None
    length = request.bytes_asked
    start = text.find(f"{request.offset:08x}:  ")
    rows = text[start:].split("\n", (length + 15) // 16)[:-1]
    # From the right: addresses grow.
    columns = [row[-65:-17] for row in rows]
    if rest := length % 16:
        columns[-1] = rows[-1][-4 * rest - 1 : -rest - 1]
    return bytes.fromhex("".join(columns))


def extents(text: str) -> tuple[IoExtent, ...] | None:
    """Return what ``map`` printed."""
    found = [_EXTENT.fullmatch(row) for row in text.splitlines()]
    if None in found:
        return None
    return tuple(
        IoExtent(offset=int(m[3], 16), length=int(m[1], 16), allocated=not m[2])
        for m in cast("list[re.Match[str]]", found)
    )


def allocation(text: str) -> tuple[int, int] | None:
    """Return the bytes that ``alloc`` found allocated, and of how many: up to the end."""
    found = re.fullmatch(r"(\d+)/(\d+) bytes allocated at offset .*\n", text)
    return (int(found[1]), int(found[2])) if found else None


def at_least(text: str) -> int | None:
    """Return a number of bytes that is not above the rounded one that was printed."""
    found = re.fullmatch(rf"([\d.]+) ({'|'.join(_UNITS)})\n?", text)
    if found is None:
        return None
    unit = _UNITS[found[2]]
    return int(float(found[1])) if unit == 1 else max(0, int((float(found[1]) - 0.001) * unit))


def image_info(text: str) -> IoInfo | None:
    """Return what ``info`` printed."""
    format = re.search(r"^format name: (.*)$", text, re.MULTILINE)
    cluster = re.search(r"^cluster size: ([\d.]+) (\S+)$", text, re.MULTILINE)
    if format is None:
        return None
    size = int(float(cluster[1]) * _UNITS[cluster[2]]) if cluster else 0
    return IoInfo(format=format[1], cluster_size=size or None, text=text)
