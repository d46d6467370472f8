"""Members under dotted names, as QEMU's command line takes them: ``file.filename=a,,b``.

Here live JSON laid flat and built up again, and the words between them. What the options mean
belongs elsewhere, and so does the type of a text (``typed``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, cast

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.sealed import sealed

from .convert import encode
from .struct import JsonObject, JsonValue, Struct

Scalar: TypeAlias = bool | int | float | str | None
Texts: TypeAlias = dict[str, JsonValue]
"""Members whose leaves are texts: JSON that has no types yet."""
Place: TypeAlias = "tuple[Place, object] | None"
"""Where something is in JSON: the place above it, and its key; None is the outermost."""

DEEPEST = 1024
"""QEMU's parser of JSON takes no more objects and lists in each other."""

_WORD = re.compile(r"(?:[^,]++|,,)*+")
_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*", re.ASCII)


def leaves(json: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Yield the leaves of JSON under dotted names, in order; an empty object or list is one."""
    for place, value in places(json):
        yield named(place), value


def places(json: JsonValue) -> Iterator[tuple[Place, JsonValue]]:
    """Yield the leaves of JSON with their places, in order.

    Raises UsageError for what is nested more deeply than QEMU takes it.
    """
    # No names yet: those of a deep tree are longer than all that is in it.
    todo: list[tuple[Place, int, JsonValue]] = [(None, 0, json)]
    while todo:
        place, depth, value = todo.pop()
        members: list[tuple[object, JsonValue]]
        if isinstance(value, Mapping):
            members = list(value.items())
        elif isinstance(value, list | tuple):
            members = list(enumerate(cast("Sequence[JsonValue]", value)))
        else:
            members = []
        if members and depth == DEEPEST:
            raise UsageError("options: nested too deeply")
        if members:
            todo += [((place, key), depth + 1, item) for key, item in members[::-1]]
        else:
            yield place, value


def named(place: Place) -> str:
    """Return the dotted name of a place."""
    keys: list[str] = []
    while place is not None:
        place, key = place
        keys.append(str(key))
    return ".".join(reversed(keys))


@sealed
def flatten(json: JsonValue) -> dict[str, Scalar]:
    """Return what JSON holds under dotted names; an item of a list is named by its number.

    A null stays, an empty object or list vanishes; JSON that is no more than a scalar is
    called ``""``.
    """
    return {
        name: value
        for name, value in leaves(json)
        if value is None or isinstance(value, str | int | float)
    }


@sealed
def dotted(options: Struct) -> dict[str, str]:
    """Return the texts of all members under their dotted names: ``backing.file.filename``.

    An item of a list is named by its number. Raises UsageError for a null and for an empty
    object or list, which have no such form.
    """
    return {name: text(value, at=name or "options") for name, value in leaves(encode(options))}


def text(value: JsonValue, *, at: str) -> str:
    """Return a leaf as a command line says it. Raises UsageError for what it cannot say."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, str | int | float):
        kind = "null" if value is None else f"an empty {'object' if value == {} else 'list'}"
        raise UsageError(f"{at}: {kind} has no form on a command line but JSON")
    return str(value)


@sealed
def keyval(texts: Mapping[str, Scalar]) -> str:
    """Return the one word of a command line: ``name=text,...``, with commas in it doubled.

    Raises UsageError for a null.
    """
    return ",".join(f"{name}={doubled(text(each, at=name))}" for name, each in texts.items())


def doubled(text: str) -> str:
    """Return a value as it stands in a list that commas separate."""
    return text.replace(",", ",,")


def pairs(word: str, *, implied: str | None = None) -> list[tuple[str, str]]:
    """Return the names and texts of ``name=text,...``; the first may leave out ``implied=``.

    Raises UsageError for anything else; it counts the parts and shows none.
    """
    found: list[tuple[str, str]] = []
    begin = 0
    while begin <= len(word):
        part = cast("re.Match[str]", _WORD.match(word, begin))
        begin = part.end() + 1
        name, equals, value = part[0].partition("=")
        if name and not equals and implied is not None and not found:
            name, equals, value = implied, "=", name
        if not equals:
            raise UsageError(f"options: part {len(found) + 1} is not name=value")
        if not _NAME.fullmatch(name):
            raise UsageError(f"options: part {len(found) + 1} has no well-formed name")
        found.append((name, value.replace(",,", ",")))
    return found


def nested(pairs: Iterable[tuple[str, JsonValue]], *, root: str) -> Texts:
    """Return the tree that dotted names draw; what is numbered without a gap is a list.

    Raises UsageError for a name that is there twice, for what has both a text and members, and
    for a list with a gap. Its place begins with ``root``.
    """
    tree: Texts = {}
    objects: list[tuple[Texts, str, Texts, str, int]] = []
    for name, value in pairs:
        *above, last = name.split(".")
        if len(above) >= DEEPEST:
            raise UsageError(f"{root}: nested too deeply")
        at = tree
        for depth, part in enumerate(above, 1):
            if part not in at:
                empty: Texts = {}
                at[part] = empty
                objects.append((at, part, empty, name, depth))
            inner = at[part]
            if not isinstance(inner, dict):
                raise UsageError(f"{_path(root, name, depth)}: has both a value and members")
            at = inner
        if last in at:
            twice = (
                "is given twice" if isinstance(at[last], str) else "has both a value and members"
            )
            raise UsageError(f"{root}.{name}: {twice}")
        at[last] = value
    for at, part, inner, name, depth in reversed(objects):  # the innermost first
        if any(map(str.isdecimal, inner)):
            at[part] = _listed(inner, root, name, depth)
    return tree


def _path(root: str, name: str, depth: int) -> str:
    """Return how errors name a place, which is ``depth`` parts of a name deep."""
    return ".".join((root, *name.split(".")[:depth]))


def _listed(members: JsonObject, root: str, name: str, depth: int) -> list[JsonValue]:
    numbers = [str(number) for number in range(len(members))]
    for number in numbers:
        if number not in members:
            path = f"{_path(root, name, depth)}.{number}"
            raise UsageError(f"{path}: is missing, but the list has other items")
    return [members[number] for number in numbers]
