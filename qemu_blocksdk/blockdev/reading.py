"""JSON to options, strictly: what no QEMU of the snapshots takes is one error with its place.

Here lives nothing about the forms that JSON comes in.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import cast, get_args

from qemu_blocksdk.codec import JsonObject, JsonValue, decode
from qemu_blocksdk.codec.json_text import place
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import BlockdevOptions

from .checking import newest_problem


def read(json: JsonValue) -> BlockdevOptions:
    """Return the options that plain JSON describes.

    Raises UsageError for what no snapshot takes; it says what is wrong for the newest.
    """
    if not isinstance(json, dict):
        raise UsageError("options: expected object")
    members = cast("JsonObject", json)
    problem = newest_problem(members)
    if problem is not None:
        raise UsageError(f"{place(members, *problem.path[1:])}: {problem.what}")
    try:
        return decode(by_driver()[members["driver"]], members)
    except RecursionError as error:
        raise UsageError(f"{place(members)}: nested too deeply") from error


@functools.cache
def by_driver() -> Mapping[JsonValue, type[BlockdevOptions]]:
    """Return the class of each driver's options."""
    kinds = cast("tuple[type[BlockdevOptions], ...]", get_args(BlockdevOptions))
    return {kind.driver: kind for kind in kinds}
