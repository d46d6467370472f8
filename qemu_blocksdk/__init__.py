"""qemu-blocksdk: QEMU's block layer as typed objects.

The blocking classes are here, the awaitable ones in :mod:`qemu_blocksdk.aio`, the block
device options in :mod:`qemu_blocksdk.blockdev`, the errors in :mod:`qemu_blocksdk.errors`,
every QMP command and event in :mod:`qemu_blocksdk.wire`. Each is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import loader

if TYPE_CHECKING:
    from .blockdev.drive import Drive
    from .blocking import (
        VM,
        Backup,
        Bitmap,
        BlockLayer,
        Device,
        Disk,
        EventStream,
        Export,
        ExportServer,
        FileExport,
        Image,
        IoThread,
        Job,
        Migration,
        NbdDaemon,
        NbdServer,
        Node,
        NodeIo,
        Operation,
        PointInTime,
        Process,
        QemuIo,
        Qmp,
        StorageDaemon,
        StorageMigration,
        ThrottleGroup,
        Toolchain,
        Transaction,
        UriExport,
    )
    from .codec import Secret
    from .tools.qemu_args import Chardev, Console, InheritedFd

__all__ = [
    "VM",
    "Backup",
    "Bitmap",
    "BlockLayer",
    "Chardev",
    "Console",
    "Device",
    "Disk",
    "Drive",
    "EventStream",
    "Export",
    "ExportServer",
    "FileExport",
    "Image",
    "InheritedFd",
    "IoThread",
    "Job",
    "Migration",
    "NbdDaemon",
    "NbdServer",
    "Node",
    "NodeIo",
    "Operation",
    "PointInTime",
    "Process",
    "QemuIo",
    "Qmp",
    "Secret",
    "StorageDaemon",
    "StorageMigration",
    "ThrottleGroup",
    "Toolchain",
    "Transaction",
    "UriExport",
]

_HOMES = {
    **dict.fromkeys(__all__, "blocking"),
    **dict.fromkeys(("Chardev", "Console", "InheritedFd"), "tools.qemu_args"),
    "Drive": "blockdev.drive",
    "Secret": "codec",
}

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
