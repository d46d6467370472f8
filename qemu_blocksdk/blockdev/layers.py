"""Nested block device options taken apart into nodes of their own. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import cast

from qemu_blocksdk.codec import Struct, evolved
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import BlockdevOptions

_INHERITED = ("read_only", "auto_read_only", "force_share", "cache", "discard")


def name_of(options: BlockdevOptions) -> str:
    """Return the node name that the options give. Raises UsageError when they give none."""
    if not isinstance(cast("object", options), Struct):
        raise UsageError(f"{options!r} is none of the classes of qemu_blocksdk.blockdev")
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
    found: dict[str, BlockdevOptions] = {}
    _taken_apart(options, {}, found)
    return found


def _taken_apart(
    options: BlockdevOptions, inherited: Mapping[str, object], found: dict[str, BlockdevOptions]
) -> BlockdevOptions | str:
    given = {name: getattr(options, name) for name in _INHERITED}
    own = {**inherited, **{name: value for name, value in given.items() if value is not None}}
    changes: dict[str, object] = {}
    own_children = child_members(type(options))
    for member in own_children:
        child: object = getattr(options, member)
        handed_down = _handed_down(own, is_backing=member == "backing")
        if isinstance(child, Struct):
            changes[member] = _taken_apart(cast("BlockdevOptions", child), handed_down, found)
        elif isinstance(child, Sequence) and not isinstance(child, str):
            changes[member] = [
                each if isinstance(each, str) else _taken_apart(each, handed_down, found)
                for each in cast("Sequence[BlockdevOptions | str]", child)
            ]
    name = options.node_name
    if name is None:
        return evolved(options, **changes)
    if inherited.get("read_only") and given["read_only"] is None and not own_children:
        # A file opens for writing when its user begins to, as the base of a commit does.
        own = {**own, "read_only": None, "auto_read_only": True}
    layer = evolved(options, **own, **changes)
    if found.setdefault(name, layer) != layer:
        raise UsageError(f"node_name {name!r} stands for two nodes")
    return name


def _handed_down(own: Mapping[str, object], *, is_backing: bool) -> dict[str, object]:
    """What a child has unless it is told otherwise; what is behind another is not written."""
    of_backing = {"read_only": True, "auto_read_only": False} if is_backing else {}
    return {**own, "discard": "unmap", **of_backing}


@functools.cache
def child_members(kind: type[BlockdevOptions]) -> tuple[str, ...]:
    """Return the attributes of a driver's options that stand for other nodes."""
    return tuple(name for name, hint in kind.__annotations__.items() if "BlockdevRef" in str(hint))
