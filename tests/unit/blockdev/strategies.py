"""Options of every driver, made by hypothesis from the annotations of the wire classes."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Sequence
from typing import Annotated, Literal, Union, cast, get_args, get_origin

from hypothesis import strategies as st

from qemu_blocksdk import wire
from qemu_blocksdk.blockdev import BlockdevOptions
from qemu_blocksdk.codec import NULL, Null, Struct, Unknown, decode

DRIVERS = cast("tuple[type[Struct], ...]", get_args(BlockdevOptions))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
_DEEPEST = 3
_LEFT_OUT: Sequence[object] = (type(None), Unknown)


def options(kind: type[Struct] | None = None) -> st.SearchStrategy[BlockdevOptions]:
    """Options of one driver, or of any; children by name, inline, or (where it may be) null."""
    kinds = DRIVERS if kind is None else (kind,)
    return cast(
        "st.SearchStrategy[BlockdevOptions]",
        st.one_of([_structs(each, _DEEPEST) for each in kinds]),
    )


@functools.cache
def _structs(kind: type[Struct], depth: int) -> st.SearchStrategy[Struct]:
    required: dict[str, st.SearchStrategy[object]] = {}
    optional: dict[str, st.SearchStrategy[object]] = {}
    for name, hint in inspect.get_annotations(kind).items():
        if hint.startswith("ClassVar"):
            continue
        if not hasattr(kind, name):
            required[name] = _values(_meaning(hint), depth)
        elif depth > 0:
            optional[name] = _values(_meaning(hint), depth)
    made = st.fixed_dictionaries(required, optional=optional)
    return made.map(functools.partial(_built, kind))


def _built(kind: type[Struct], members: dict[str, object]) -> Struct:
    value = decode(kind, {})  # unlike the constructor, it is silent about a deprecated class
    vars(value).update(members)
    return value


def _values(hint: object, depth: int) -> st.SearchStrategy[object]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _values(inner[0], depth)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is Sequence:
        return st.lists(_values(inner[0], depth), max_size=2)
    if origin is Union or isinstance(hint, types.UnionType):
        return _unions([each for each in inner if each not in _LEFT_OUT], depth)
    if hint is Null:
        return st.just(NULL)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _structs(hint, depth - 1)
    scalars: dict[object, st.SearchStrategy[object]] = {
        bool: st.booleans(),
        int: INTEGERS,
        str: TEXTS,
    }
    return scalars[hint]


def _unions(hints: list[object], depth: int) -> st.SearchStrategy[object]:
    flat: list[object] = [
        hint for hint in hints if not (isinstance(hint, type) and issubclass(hint, Struct))
    ]
    if depth <= 0 and flat:
        hints = flat
    return st.one_of([_values(hint, depth) for hint in hints])


def _meaning(hint: str) -> object:
    names = {name: getattr(wire, name) for name in dir(wire)} | vars(wire.blockdev)
    return cast("object", eval(hint, names))  # generated source of this package
