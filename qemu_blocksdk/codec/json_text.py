"""JSON as text, as QEMU reads it: single quotes will do, a name is there once, texts are UTF-8.

What the members mean belongs elsewhere. Errors begin with the place and show no value.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

from qemu_blocksdk.errors import UsageError

from .dotted import named, places
from .struct import JsonObject, JsonValue

# A string without an end is one up to the text's: it is not read again from its next quote.
_STRING = re.compile(
    r""""((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|'((?:[^'\\]++|\\.)*+)(?:'|\\?\Z)""", re.DOTALL
)
_QUOTE = re.compile(r'''\\.|"''', re.DOTALL)


class _Twice:
    """Stands for an object that has a name twice."""

    def __init__(self, name: str) -> None:
        self.name: Final = name


def to_text(members: JsonObject) -> str:
    """Return JSON in one line. Raises UsageError for what QEMU does not take for JSON."""
    try:
        text = json.dumps(members, ensure_ascii=False, allow_nan=False, default=_mapping)
    except RecursionError as error:
        raise UsageError(f"{root_of(members)}: nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{root_of(members)}: no JSON ({error})") from error
    assert_texts(members)  # comes last: only now it is known to have an end
    return text


def from_text(text: str) -> JsonValue:
    """Return what JSON says. Raises UsageError for what QEMU does not take for JSON."""
    try:
        found: JsonValue = json.loads(
            _STRING.sub(_double_quoted, text),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as error:
        # Of the text itself nothing, which may be a secret.
        where = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"options: not JSON: {error.msg} ({where})") from error
    except RecursionError as error:
        raise UsageError("options: nested too deeply") from error
    assert_texts(found)
    return found


def assert_texts(json: JsonValue, *, errors: str = "strict") -> None:
    """Raise UsageError for a text that QEMU cannot have, and an object with a name twice.

    ``errors`` says what to do with what is not UTF-8, as for ``str.encode``.
    """
    for above, leaf in places(json):
        if isinstance(leaf, _Twice):
            raise UsageError(f"{place(json, named(above), leaf.name)}: is given twice")
        if isinstance(leaf, str):
            if "\0" in leaf:
                raise UsageError(f"{place(json, named(above))}: QEMU has no text with a NUL")
            try:
                leaf.encode(errors=errors)
            except UnicodeEncodeError:
                # Without its cause, which holds the text.
                wrong = "is not UTF-8; only dotted names or a plain path can say that"
                raise UsageError(f"{place(json, named(above))}: {wrong}") from None


def root_of(json: JsonValue) -> str:
    """Return how errors call the outermost object: by its node name, where it has one."""
    name = json.get("node-name") if isinstance(json, Mapping) else None
    return name if isinstance(name, str) and name and name.isprintable() else "options"


def place(json: JsonValue, *path: str) -> str:
    """Return how errors name a place in JSON: ``disk.backing.file``."""
    shown = (name if name.isprintable() else ascii(name) for name in path if name)
    return ".".join((root_of(json), *shown))


def _double_quoted(found: re.Match[str]) -> str:
    inner = found[1] or found[2] or ""
    is_whole = len(found[0]) == len(inner) + 2
    return f'"{_QUOTE.sub(_escaped, inner)}"' if is_whole and "'" in found[0] else found[0]


def _escaped(found: re.Match[str]) -> str:
    return {r"\'": "'", '"': r"\""}.get(found[0], found[0])


def _object(pairs: list[tuple[str, JsonValue]]) -> object:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    counts = Counter(name for name, _ in pairs)
    return _Twice(next(name for name, count in counts.items() if count > 1))


def _integer(text: str) -> float:
    # QEMU 7.2: an integer beyond 64 bits is a floating-point number, so it is one here.
    number = int(text) if len(text) <= len(str(-(1 << 63))) else float(text)
    return number if -(1 << 63) <= number < 1 << 64 else float(number)


def _no_number(text: str) -> NoReturn:
    raise UsageError(f"options: not JSON: {text}")


def _mapping(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    raise TypeError(f"a {type(value).__name__} has no JSON form")
