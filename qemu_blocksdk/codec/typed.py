"""Texts of a command line to JSON, by the types that the annotations of wire classes declare.

What does not fit stays the text that it is, for the check against a schema to name.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal, Union, cast, get_args, get_origin

from .convert import _evaluate, _tag_value, _wire_name
from .struct import JsonObject, JsonValue, Null, Struct
from .value import raw_hints

_BOOLS = {
    **dict.fromkeys(("on", "yes", "true", "y"), True),
    **dict.fromkeys(("off", "no", "false", "n"), False),
}
_INTEGER = re.compile(r"\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]{0,19}))")
_SIZE = re.compile(r"\s*\+?([0-9]{1,20})(?:\.([0-9]{1,20}))?([bkmgtpe])?", re.IGNORECASE)


def typed(hint: object, texts: JsonValue, *, sizes: Collection[str], name: str = "") -> JsonValue:
    """Return texts as the JSON that an annotation asks for; what has a type already keeps it.

    ``sizes`` names the members in which an integer may have a suffix (``1.5M``).
    """
    kinds = kinds_of(hint)
    if isinstance(texts, str):
        return _scalar(kinds, texts, is_size=name in sizes)
    if isinstance(texts, list):
        items = cast("Sequence[JsonValue]", texts)
        element = next((get_args(kind)[0] for kind in kinds if get_origin(kind) is Sequence), None)
        return [typed(element, item, sizes=sizes) for item in items]
    if not isinstance(texts, Mapping):
        return texts
    members = texts
    of = next((kind for kind in kinds if _is_branch(kind, members)), None)
    hints = {} if of is None else hints_of(cast("type[Struct]", of))
    return {
        key: typed(hints.get(key), member, sizes=sizes, name=key) for key, member in members.items()
    }


def fits(hint: object, scalar: JsonValue) -> bool:
    """Tell whether an annotation allows a scalar."""
    kinds = kinds_of(hint)
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return type(scalar) in kinds or scalar in choices


@functools.cache
def hints_of(cls: type[Struct]) -> dict[str, object]:
    """Return the annotation of each member of a wire class, by its name on the wire."""
    return {
        _wire_name(cls, name): _evaluate(hint, cls.__module__)
        for name, hint in raw_hints(cls).items()
    }


def _scalar(kinds: Collection[object], text: str, *, is_size: bool) -> JsonValue:
    if int in kinds:
        return _size(text) if is_size else _integer(text)
    if bool in kinds:
        return _BOOLS.get(text, text)
    if Null in kinds and not text:
        return None
    return text


def _integer(text: str) -> int | str:
    found = _INTEGER.fullmatch(text)
    if found is None:
        return text
    sign, hexadecimal, octal, decimal = found.groups()
    number = int(hexadecimal or octal or decimal, 16 if hexadecimal else 8 if octal else 10)
    return _in_64_bits(-number if sign == "-" else number, text)


def _size(text: str) -> int | str:
    found = _SIZE.fullmatch(text)
    if found is None:
        return _integer(text)
    whole, fraction, suffix = found.groups(default="")
    unit = 1024 ** "bkmgtpe".index(suffix.lower() or "b")
    part = int(fraction or 0) * unit // 10 ** len(fraction)
    return _in_64_bits(int(whole) * unit + part, text)


def _in_64_bits(number: int, text: str) -> int | str:
    return number if -(1 << 63) <= number < 1 << 64 else text


def _is_branch(kind: object, members: JsonObject) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, Struct)
        and all(members.get(tag) == _tag_value(kind, tag) for tag in kind._tags)
    )


@functools.cache
def kinds_of(hint: object) -> tuple[object, ...]:
    """Return the alternatives of an annotation."""
    origin = get_origin(hint)
    if origin is Annotated:
        return kinds_of(get_args(hint)[0])
    if origin is Union or isinstance(hint, types.UnionType):
        return tuple(kind for each in get_args(hint) for kind in kinds_of(each))
    return (hint,)
