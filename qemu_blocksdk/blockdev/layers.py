"""Nested block device options taken apart into nodes of their own. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from qemu_blocksdk.codec import Struct, evolve
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire.blockdev import BlockdevOptions, DriverOptions

_INHERITED = ("read_only", "auto_read_only", "force_share", "cache", "discard")
_CACHE = ("direct", "no_flush")


def assert_options(options: BlockdevOptions) -> None:
    """Raise UsageError for what is no options of a block device."""
    if not isinstance(cast("object", options), DriverOptions):
        raise UsageError(f"{options!r} is none of the classes of qemu_blocksdk.blockdev")


def name_of(options: BlockdevOptions) -> str:
    """Return the node name that the options give. Raises UsageError when they give none."""
    assert_options(options)
    if options.node_name is None:
        raise UsageError(f"{type(options).__name__} needs a node_name")
    return options.node_name


def layers(options: BlockdevOptions) -> dict[str, BlockdevOptions]:
    """Return the named nodes among the options by name, children first.

    Each refers to its named children by name and has the others inside. On its own a child
    inherits nothing in QEMU, so what it would have inherited is told. Raises as
    :func:`name_of`, and UsageError where one name stands for two things.
    """
    name_of(options)
    # Not recursion: a chain may be longer than Python's stack.
    places: list[_Place] = []
    todo = [_Place(options, {})]
    while todo:
        place = todo.pop()
        places.append(place)
        place.below = [
            _Place(child, handed_down(place.own, to=role))
            for role, child in children_of(place.node)
            if not isinstance(child, str)
        ]
        todo += place.below
    found: dict[str, BlockdevOptions] = {}
    for place in reversed(places):
        place.taken_apart = _taken_apart(place, found)
    return found


class _Place:
    """A node where it was defined, and what it becomes: a name, or what stays inside."""

    def __init__(self, node: BlockdevOptions, inherited: Mapping[str, object]) -> None:
        self.node = node
        self.inherited = inherited
        self.own = in_effect(node, inherited)
        self.below: list[_Place] = []
        self.taken_apart: BlockdevOptions | str = node


def _taken_apart(place: _Place, found: dict[str, BlockdevOptions]) -> BlockdevOptions | str:
    node, own = place.node, place.own
    below = iter(place.below)
    changes: dict[str, object] = {}
    own_children = child_members(type(node))
    for member in own_children:
        child: object = getattr(node, member)
        if isinstance(child, Struct):
            changes[member] = next(below).taken_apart
        elif isinstance(child, Sequence) and not isinstance(child, str):
            changes[member] = [
                each if isinstance(each, str) else next(below).taken_apart
                for each in cast("Sequence[BlockdevOptions | str]", child)
            ]
    name = node.node_name
    if name is None:
        return evolve(node, **changes)
    if place.inherited.get("read_only") and node.read_only is None and not own_children:
        # A file opens for writing when its user begins to, as the base of a commit does.
        own = {**own, "read_only": None, "auto_read_only": True}
    layer = evolve(node, **own, **changes)
    if found.setdefault(name, layer) != layer:
        raise UsageError(f"node_name {name!r} stands for two nodes")
    return name


def children_of(node: BlockdevOptions) -> Iterator[tuple[str, BlockdevOptions | str]]:
    """Yield the children of a node, inline or by name: ``backing``, ``children.0``; no NULL."""
    for member, role in child_members(type(node)).items():
        child: object = getattr(node, member)
        if isinstance(child, str | Struct):
            yield role, cast("BlockdevOptions | str", child)
        elif isinstance(child, Sequence):
            each = cast("Sequence[BlockdevOptions | str]", child)
            yield from ((f"{role}.{number}", item) for number, item in enumerate(each))


def in_effect(options: BlockdevOptions, inherited: Mapping[str, object]) -> dict[str, object]:
    """Return the members that children inherit as they are for a node, told or inherited."""
    own = {**inherited, **_given(options, _INHERITED)}
    if isinstance(above := inherited.get("cache"), Struct):
        own["cache"] = evolve(above, **_given(cast("Struct", own["cache"]), _CACHE))
    return own


def handed_down(own: Mapping[str, object], *, to: str) -> dict[str, object]:
    """Return what an inline child has unless it is told otherwise; backing is not written to."""
    of_backing = {"read_only": True, "auto_read_only": False} if to == "backing" else {}
    return {**own, "discard": "unmap", **of_backing}


def _given(options: Struct, names: Sequence[str]) -> dict[str, object]:
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


@functools.cache
def child_members(kind: type[BlockdevOptions]) -> Mapping[str, str]:
    """Return the attributes of a driver's options that stand for other nodes, with QEMU's names."""
    return {
        name: name.replace("_", "-")
        for name, hint in kind.__annotations__.items()
        if "BlockdevRef" in str(hint)
    }
