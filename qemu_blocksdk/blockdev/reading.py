"""JSON to options, strictly: what no QEMU of the snapshots takes is one error with its place.

Here lives nothing about the forms that JSON comes in.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import cast, get_args

from qemu_blocksdk.codec import JsonObject, JsonValue, decode
from qemu_blocksdk.codec.json_text import place
from qemu_blocksdk.errors import MalformedReply, UsageError
from qemu_blocksdk.schema import Problem, snapshots
from qemu_blocksdk.schema.refusal import refusal
from qemu_blocksdk.wire import BlockdevOptions


def read(json: JsonValue) -> BlockdevOptions:
    """Return the options that plain JSON describes.

    Raises UsageError for what no snapshot takes; it says what is wrong for the newest.
    """
    if not isinstance(json, dict):
        raise UsageError("options: expected object")
    members = cast("JsonObject", json)
    assert_known(members)
    try:
        return decode(by_driver()[members["driver"]], members)
    except MalformedReply as error:
        raise UsageError(f"{place(members)}: {error}") from error


def assert_known(members: JsonObject, *, qemu: str | None = None) -> None:
    """Raise for what the schema of a QEMU, or of every one that there is a snapshot of, lacks.

    See :func:`qemu_blocksdk.blockdev.check`.
    """
    problem = problem_of(members, qemu)
    if problem is not None:
        where = place(members, *problem.path[1:])
        if qemu is None:
            raise UsageError(f"{where}: {problem.what}")
        raise refusal(problem, members, where=where)


def problem_of(members: JsonObject, qemu: str | None = None) -> Problem | None:
    """Return what the newest of the QEMUs that were asked for objects to, if every one does."""
    newest: Problem | None = None
    for name in _snapshots(qemu):
        problem = snapshots.load(name).problem("blockdev-add", members)
        if problem is None:
            return None
        newest = newest or problem
    return newest


@functools.cache
def _snapshots(qemu: str | None) -> tuple[str, ...]:
    """The names of the snapshots of a QEMU, the newest first."""
    known = snapshots.available()
    found = [name for name in known if qemu in (None, name, name.rpartition("-")[2])]
    if not found:
        raise UsageError(f"no snapshot of QEMU {qemu!r}; there are: {', '.join(known)}")
    return tuple(reversed(found))


@functools.cache
def by_driver() -> Mapping[JsonValue, type[BlockdevOptions]]:
    """Return the class of each driver's options."""
    kinds = cast("tuple[type[BlockdevOptions], ...]", get_args(BlockdevOptions))
    return {kind.driver: kind for kind in kinds}
