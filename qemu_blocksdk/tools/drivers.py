"""Block drivers: what a program says it has, and what they are.

A program lists names. Of what kind a driver is, and whether it can write at all, no
program tells; that is written down here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.schema import Schema
from qemu_blocksdk.schema.model import Object, Type

from .run import Completed

DriverKind = Literal["format", "protocol", "filter"]

_NAMES: Mapping[DriverKind, str] = {
    "format": "bochs cloop dmg luks parallels qcow qcow2 qed raw vdi vhdx vmdk vpc",
    "protocol": "file ftp ftps gluster host_cdrom host_device http https io_uring iscsi iser nbd"
    " nfs null-aio null-co nvme nvme-io_uring rbd ssh vvfat virtio-blk-vfio-pci"
    " virtio-blk-vhost-user virtio-blk-vhost-vdpa",
    "filter": "blkdebug blklogwrites blkreplay blkverify compress copy-before-write copy-on-read"
    " preallocate replication throttle",
}
_KIND: Mapping[str, DriverKind] = {
    name: kind for kind, names in _NAMES.items() for name in names.split()
}
FORMATS: Final = frozenset(_NAMES["format"].split())
PROTOCOLS: Final = frozenset(_NAMES["protocol"].split())
READ_ONLY: Final = frozenset(("bochs", "cloop", "dmg", "ftp", "ftps", "http", "https"))


class DriverSupport(Value):
    """What a program can do by a block driver.

    ``kind`` is None for what is no format, protocol or filter (``quorum``) and for what is
    not known here. Of qemu-img, ``can_create`` means ``qemu-img create -f``, else
    ``blockdev-create``.
    """

    name: str
    kind: DriverKind | None
    can_open_read_only: bool
    can_open_writable: bool
    can_create: bool


def supports(
    names: Iterable[str], *, writable: Collection[str], creatable: Collection[str]
) -> dict[str, DriverSupport]:
    """Tell by name what a program can do by its drivers, given the lists in which they are."""
    return {
        name: DriverSupport(
            name=name,
            kind=_KIND.get(name),
            can_open_read_only=True,
            can_open_writable=name in writable and name not in READ_ONLY,
            can_create=name in creatable,
        )
        for name in names
    }


def listed(text: str, *, read_only: bool = False) -> tuple[str, ...]:
    """Return the drivers that a help text lists as supported; empty where it has no list.

    ``read_only`` takes the list of those that can be opened at least read-only, which only
    the system emulator prints.
    """
    suffix = r" \(read-only\)" if read_only else ""
    # QEMU 10.0: qemu-img says "Supported image formats:" and wraps the lines, so the
    # list ends where something else than a name follows.
    heading = rf"^Supported (?:image )?formats{suffix}:"
    names = re.search(rf"{heading}((?:\s+[a-z][\w-]*(?!\S))+)", text, re.MULTILINE)
    return tuple(names[1].split()) if names else ()


def told_creatable(done: Completed) -> bool | None:
    """Read what ``qemu-img create -f DRIVER -o help`` said; None: it cannot load the driver.

    Raises ToolError.
    """
    if done.exit_status == 0:
        return True
    if "does not support image creation" in done.stderr:
        return False
    if "Unknown file format" in done.stderr:
        return None
    raise done.failure()


def openable(schema: Schema) -> tuple[str, ...]:
    """Return the drivers that introspection knows for ``blockdev-add``."""
    return tuple(_branches(schema, "blockdev-add"))


def creatable(schema: Schema) -> frozenset[str]:
    """Return the drivers that introspection knows for ``blockdev-create``."""
    branches = _branches(schema, "blockdev-create", member="options").items()
    # All drivers have a branch; it is empty for those that cannot create.
    return frozenset(name for name, kind in branches if isinstance(kind, Object) and kind.members)


def _branches(schema: Schema, command: str, *, member: str | None = None) -> dict[str, Type]:
    """The branches of the union that the arguments of a command are, or a member of them."""
    found = schema.command(command)
    options = schema.type(found.arg) if found is not None else None
    if isinstance(options, Object) and member is not None:
        options = next((schema.type(m.type) for m in options.members if m.name == member), None)
    if not isinstance(options, Object):
        return {}
    return {case: schema.type(name) for case, name in options.variants.items()}
