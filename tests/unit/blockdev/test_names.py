"""Whoever writes options finds every type that they are made of in one place."""

from __future__ import annotations

import re
from typing import get_args

from qemu_blocksdk import blockdev, wire
from qemu_blocksdk.blockdev import BlockdevOptions


def _reached() -> set[str]:
    """The names of the types that drivers' members have, and of those that these have."""
    known = set(wire.__all__) - {"available_in"}
    found: set[str] = set()
    todo: list[object] = [BlockdevOptions]
    while todo:
        each = todo.pop()
        hints = [*get_args(each)] if get_args(each) else []
        texts = getattr(each, "__annotations__", {}).values()
        names = {word for text in texts for word in re.findall(r"\w+", text)} & known
        names |= {hint.__name__ for hint in hints if getattr(hint, "__name__", "") in known}
        todo += [getattr(wire, name) for name in names - found]
        found |= names
    return found


def test_every_type_of_a_member_can_be_had() -> None:
    reached = _reached()
    assert {"Qcow2", "SocketAddressInet", "BlkdebugIOType", "BlockPermission"} <= reached
    # What a QMP client puts around an address, and the address alone.
    assert reached - set(dir(blockdev)) <= {"InetSocketAddressBase", "InetSocketAddress"}


def test_nothing_else_is_offered() -> None:
    strays = {"Mapping", "Sequence", "Literal", "ClassVar", "Struct", "deprecated", "cast"}
    assert strays.isdisjoint(dir(blockdev))
