"""Which snapshots of QEMU have a thing: a command, an event, a member, a value of an enum."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import cast, get_args

from qemu_blocksdk.errors import UsageError

from .struct import Struct


def available_in(thing: type[Struct] | str, name: str | None = None) -> tuple[str, ...]:
    """Return the snapshots (``system-10.0``) that have a wire class, or one of its members.

    ``thing`` is a class of ``wire``, or the name of a class or enum; ``name`` a member's
    attribute, or a value of the enum: ``available_in(Qcow2, "discard_no_unref")``,
    ``available_in("JobType", "mirror")``. Raises UsageError when there is no such thing.
    """
    wire = importlib.import_module("qemu_blocksdk.wire")
    owner = thing if isinstance(thing, str) else thing.__name__
    found: object = getattr(wire, owner, None)
    is_class = isinstance(found, type)
    names: object = found.__annotations__ if is_class else get_args(found)
    if found is None or (name is not None and name not in cast("Collection[str]", names)):
        raise UsageError(f"wire has no {owner if name is None else f'{owner}: {name}'}")
    table = importlib.import_module("qemu_blocksdk.wire._availability")
    exceptions = cast("dict[str, int]", table.EXCEPTIONS)
    snapshots = cast("tuple[str, ...]", table.SNAPSHOTS)
    entry = f"{owner}{'.' if is_class else '='}{name}"
    mask = exceptions.get(entry, exceptions.get(owner, (1 << len(snapshots)) - 1))
    return tuple(snapshot for bit, snapshot in enumerate(snapshots) if mask >> bit & 1)
