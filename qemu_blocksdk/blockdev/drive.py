"""``-drive``: a node, the block backend on it and often its device, in one option of old.

Here lives what it says beside the options of the node, which ``forms`` reads and writes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

from qemu_blocksdk.codec import Struct, decode, encode
from qemu_blocksdk.codec.dotted import keyval, nested, pairs
from qemu_blocksdk.codec.filename import qemu_name
from qemu_blocksdk.codec.json_text import place
from qemu_blocksdk.codec.typed import fits, hints_of, typed
from qemu_blocksdk.errors import MalformedReply, UsageError
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.wire import BlockdevOptions, ThrottleLimits

from .forms import IMAGE_OPTS_SIZES, from_pairs, leaf_texts, members_of
from .reading import by_driver


class Drive(Struct):
    """A ``-drive``: a disk of the guest by the older way, its device and its image in one.

    The image is a ``file`` of a ``format``: a path object is taken as it is, a str is a name in
    QEMU's syntax (``nbd://``, ``fat:``, ``json:``). With it come further
    ``options`` under dotted names (``file.locking``); or the options of a block device say all
    of it. Without an ``interface`` it is the machine's own.
    """

    _wire_names: ClassVar[Mapping[str, str]] = {
        "interface": "if",
        "throttling_group": "throttling.group",
    }
    _rest: ClassVar[str] = "options"

    file: str | os.PathLike[str] | None = None
    format: str | None = None
    interface: Literal["virtio", "ide", "scsi", "sd", "mtd", "floppy", "pflash", "none"] | None = (
        "virtio"
    )
    id: str | None = None
    index: int | None = None
    bus: int | None = None
    unit: int | None = None
    media: Literal["disk", "cdrom"] | None = None
    cache: Literal["none", "writeback", "unsafe", "directsync", "writethrough"] | None = None
    aio: Literal["threads", "native", "io_uring"] | None = None
    read_only: bool | None = None
    snapshot: bool | None = None
    copy_on_read: bool | None = None
    discard: Literal["ignore", "unmap"] | None = None
    detect_zeroes: Literal["on", "off", "unmap"] | None = None
    rerror: Literal["report", "ignore", "stop"] | None = None
    werror: Literal["report", "ignore", "stop", "enospc"] | None = None
    throttling: ThrottleLimits | None = None
    throttling_group: str | None = None
    options: BlockdevOptions | Mapping[str, str | int | bool] | None = None


_NESTED: Final = frozenset(("throttling", "options"))
_ALIASES: Final = {"readonly": "read-only"}
# Said of the node as well, where options of a block device can have it.
_SHARED: Final = frozenset(("read-only", "discard", "detect-zeroes", "aio"))


@sealed
def to_drive(drive: Drive) -> str:
    """Return the word after ``-drive``.

    Raises UsageError for what is said twice, for what dotted names cannot say, and for options of
    a block device that mean something else there: a ``file`` that is a node's name, ``snapshot``.
    """
    return keyval(drive_texts(drive))


def drive_texts(drive: Drive) -> dict[str, str]:
    """Return what :func:`to_drive` says, under dotted names. Raises UsageError as that."""
    options, file = drive.options, drive.file
    own = encode(drive.evolve(options=None, file=None if file is None else qemu_name(file)))
    members = members_of(options) if isinstance(options, Struct) else dict(options or {})
    if isinstance(options, Struct) and own.keys() & {"file", "format"}:
        raise UsageError(f"{place(members)}: the file and the format are told in these options")
    texts, further = leaf_texts(own), leaf_texts(members)
    for name in further:
        if isinstance(options, Struct) and name in _hints().keys() - _SHARED:
            wrong = "means something else in -drive; -blockdev can say it"
        elif name in texts:
            wrong = "is given twice"
        else:
            continue
        raise UsageError(f"{place(members, name)}: {wrong}")
    return {**texts, **further}


@sealed
def from_drive(word: str) -> Drive:
    """Return what the word after ``-drive`` describes.

    With ``file=`` that is a file of a ``format``, and what it says beyond stays texts under dotted
    names, as QEMU may have to guess what they are for. Without, it is the options of a block
    device. ``driver`` and ``format`` are one. Raises UsageError as
    :func:`~qemu_blocksdk.blockdev.from_image_opts`, also for the names that QEMU had before
    ``throttling.iops-total``.
    """
    given = [(_ALIASES.get(name, name), text) for name, text in pairs(word)]
    is_file = any(name == "file" for name, _ in given)
    alias, driver = ("driver", "format") if is_file else ("format", "driver")
    given = [(driver if name == alias else name, text) for name, text in given]
    ours = set(_hints())
    if not is_file:
        kind = by_driver().get(dict(given).get("driver"))
        ours -= _SHARED & (hints_of(kind).keys() if kind else _SHARED)
    own = [(name, text) for name, text in given if name in ours]
    rest = [(name, text) for name, text in given if name not in ours]
    options: BlockdevOptions | Mapping[str, str] | None = None
    if is_file:
        nested(rest, root="options")
        options = dict(rest) or None
    elif rest:
        options = from_pairs(rest, sizes=IMAGE_OPTS_SIZES)
    return _drive(own).evolve(options=options)


def _drive(own: Sequence[tuple[str, str]]) -> Drive:
    """What texts say beside the options of the node."""
    nested(own, root="options")
    json = {name: typed(_hints()[name], text, sizes=()) for name, text in own}
    for name, value in json.items():
        if not fits(_hints()[name], value):
            raise UsageError(f"options.{name}: not a value that -drive has")
    limits = {name: json.pop(name) for name in tuple(json) if name in _limits()}
    if limits:
        json["throttling"] = {_limits()[name]: value for name, value in limits.items()}
    # Without an interface it is the machine's own, not the one that we prefer.
    try:
        return decode(Drive, {"if": None, **json})
    except MalformedReply as error:
        raise UsageError(f"options: {error}") from error


@functools.cache
def _limits() -> Mapping[str, str]:
    return {f"throttling.{name}": name for name in hints_of(ThrottleLimits)}


@functools.cache
def _hints() -> Mapping[str, object]:
    """The types of what is said beside the options of the node, by its dotted name."""
    limits = hints_of(ThrottleLimits)
    return {
        **{name: hint for name, hint in hints_of(Drive).items() if name not in _NESTED},
        **{name: limits[its] for name, its in _limits().items()},
    }
