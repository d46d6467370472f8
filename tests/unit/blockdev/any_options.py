"""Strategies that draw options of every driver, off the annotations of the wire classes."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Literal, cast, get_args, get_origin

from hypothesis import strategies as st

from qemu_blocksdk.blockdev import NULL, BlockdevOptions
from qemu_blocksdk.codec import Null, Struct, Unknown
from qemu_blocksdk.codec.typed import hints_of, kinds_of
from qemu_blocksdk.codec.value import shape
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.wire import available_in

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.text(
    ",=.\"'\\{}[]:\n\t on0", max_size=8
)
INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)
NEWEST = snapshots.available()[-1]


def drivers(snapshot: str) -> list[type[BlockdevOptions]]:
    """The options of all drivers that a QEMU has."""
    kinds = cast("tuple[type[BlockdevOptions], ...]", get_args(BlockdevOptions))
    return [kind for kind in kinds if snapshot in available_in(kind)]


DRIVERS = drivers(NEWEST)


def any_options(kind: type[BlockdevOptions] | None = None) -> st.SearchStrategy[BlockdevOptions]:
    """Draw options of one driver, or of any, with all members that there are."""
    kinds = DRIVERS if kind is None else [kind]
    drawn = st.one_of([any_of(each, NEWEST) for each in kinds])
    return cast("st.SearchStrategy[BlockdevOptions]", drawn)


@functools.cache
def any_of(kind: type[Struct], snapshot: str, depth: int = 2) -> st.SearchStrategy[Struct]:
    """Draw values of a class with the members that a QEMU has, nested ``depth`` deep."""
    mandatory: dict[str, st.SearchStrategy[object]] = {}
    optional: dict[str, st.SearchStrategy[object]] = {}
    for attribute, hint in zip(shape(kind).order, hints_of(kind).values(), strict=True):
        if snapshot in available_in(kind, attribute):
            kinds = kinds_of(hint)
            strategy = st.one_of(
                [_any(each, snapshot, depth) for each in kinds if _is(each, depth)]
            )
            (optional if types.NoneType in kinds else mandatory)[attribute] = strategy

    def made(members: dict[str, object]) -> Struct:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # gluster
            return cast("Callable[..., Struct]", kind)(**members)

    return st.fixed_dictionaries(mandatory, optional=optional).map(made)


def _is(kind: object, depth: int) -> bool:
    """Whether to draw it: None is left out, an unknown branch is nobody's; deep nodes are names."""
    if kind is types.NoneType or kind is Unknown:
        return False
    return depth > 0 or kind not in get_args(BlockdevOptions)


def _any(kind: object, snapshot: str, depth: int) -> st.SearchStrategy[object]:
    if kind is Null:
        return st.just(NULL)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is Sequence:
        items = [
            _any(each, snapshot, depth) for each in kinds_of(get_args(kind)[0]) if _is(each, depth)
        ]
        return st.lists(st.one_of(items), max_size=3).map(tuple)
    if isinstance(kind, type) and issubclass(kind, Struct):
        if snapshot not in available_in(kind):
            return st.nothing()
        return st.deferred(lambda: any_of(kind, snapshot, depth - 1))
    scalars: dict[object, st.SearchStrategy[object]] = {
        str: TEXTS,
        int: INTEGERS,
        bool: st.booleans(),
    }
    return scalars[kind]
