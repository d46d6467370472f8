"""Looking at an image from a stranger: QEMU opens that one file and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import ToolError, UsageError

from .probe import opened, probe_open
from .run import Limits, ask, renamed
from .target import json_name


async def info(
    program: Sequence[str], path: str, format: str, *, force_share: bool, timeout: float
) -> JsonObject:
    """Return what ``qemu-img info`` tells of a file by itself, under :class:`Limits`.

    The format is the one given; a backing file is not opened, an external data file is
    replaced by nothing. Raises UsageError for an image whose data is in other files, and
    for what :func:`probe` refuses; ToolError.
    """
    # One descriptor for our look and for QEMU's: nobody puts another file in between.
    descriptor = opened(path)
    try:
        same_file = f"/proc/self/fd/{descriptor}"
        name = json_name(_options(descriptor, path, format, same_file))
        try:
            done = await ask(
                *([*program, "info"], [*(["-U"] if force_share else []), "--output=json", name]),
                timeout=timeout,
                pass_fds=(descriptor,),
                limits=Limits(),
            )
        except ToolError as error:
            raise renamed(error, name, same_file, to=path) from error
    finally:
        os.close(descriptor)
    return _renamed(done.json_object(), same_file, path)


def _options(descriptor: int, path: str, format: str, same_file: str) -> JsonObject:
    """The options by which QEMU opens the one file, whatever that refers to."""
    options: dict[str, JsonValue] = {"driver": format, "backing": None}
    if format != "raw":
        found = probe_open(descriptor, path)
        if found.extents:
            raise UsageError(f"{path!r} has its data in other files: {', '.join(found.extents)}")
        if found.data_file is not None:
            options["data-file"] = {"driver": "null-co", "size": found.virtual_size or 0}
    return {**options, "file": {"driver": "file", "filename": same_file}}


def _renamed(info: JsonObject, old: str, new: str) -> JsonObject:
    """The same with another file name, in the children too."""
    changed = dict(info)
    if changed.get("filename") == old:
        changed["filename"] = new
    children = changed.get("children")
    if isinstance(children, list):
        changed["children"] = [
            {**child, "info": _renamed(inner, old, new)}
            for child in children
            if isinstance(child, Mapping) and isinstance(inner := child.get("info"), Mapping)
        ]
    return changed
