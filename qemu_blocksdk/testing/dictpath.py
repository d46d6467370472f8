"""Paths into QMP messages in the form of iotests: ``return[0]/inserted/image/format``.

Slashes separate the names of members. An index may follow a name; a negative one counts from the
end. The walk stops at the first part that the message does not have, and the error says which.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from itertools import islice

from qemu_blocksdk.codec import JsonValue, redact
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed

_PART = re.compile(r"([^\[\]/]+)(?:\[(-?\d+)\])?", re.ASCII)
_LONGEST = 300
_MOST_DIGITS = 18
_MOST_NAMES = 20
_MOST_COMPARED = 500


@sealed
def dictpath(message: JsonValue, path: str) -> JsonValue:
    """Return the value at a path; None is a null of the message.

    Raises AssertionError if there is no such value, which says where the path ends and what is
    there; UsageError for an invalid path.
    """
    parts = [_parsed(part, path) for part in path.split("/")]
    here, way = message, ""
    for name, index in parts:
        if not isinstance(here, Mapping) or name not in here:
            raise AssertionError(_missing(path, way, repr(name), here, message))
        here, way = here[name], f"{way}/{name}" if way else name
        if index is not None:
            # A text has no items here.
            if not isinstance(here, list) or not -len(here) <= index < len(here):
                raise AssertionError(_missing(path, way, f"[{index}]", here, message))
            here, way = here[index], f"{way}[{index}]"
    return here


def shown(value: JsonValue) -> str:
    """Return a value as JSON, with secrets replaced, cut after 300 characters."""
    redacted = redact(value)
    try:
        text = json.dumps(redacted)
    except (TypeError, ValueError, RecursionError):
        text = repr(redacted)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _parsed(part: str, path: str) -> tuple[str, int | None]:
    found = _PART.fullmatch(part)
    if found is None:
        what = f"{part!r} is no name, nor name[index]" if part else "a part of it is empty"
        raise UsageError(f"path {path!r}: {what}")
    return found[1], None if found[2] is None else int(found[2][:_MOST_DIGITS])


def _missing(path: str, way: str, wanted: str, here: JsonValue, message: JsonValue) -> str:
    if isinstance(here, Mapping):
        names = [*map(repr, here)]
        # difflib takes time in the square of what it gets.
        similar = [name for name in islice(here, _MOST_COMPARED) if len(name) <= _LONGEST]
        name = wanted[1:-1][:_LONGEST]  # without its quotes
        near = difflib.get_close_matches(name, similar, n=1)
        there = f"only {', '.join(names[:_MOST_NAMES])}" if names else "nothing at all"
        there += ", ..." if names[_MOST_NAMES:] else ""
        there += f"; did you mean {near[0]!r}?" if near else ""
    elif isinstance(here, list):
        there = f"it is a list of {len(here)}"
    else:
        there = f"it is {shown(here)}"
    at = repr(way) if way else "the message"
    return f"{path!r} is not there: {at} has no {wanted}, {there}\nin {shown(message)}"
