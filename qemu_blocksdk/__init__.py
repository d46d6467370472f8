"""qemu-blocksdk: QEMU's block layer as typed objects.

The blocking classes are here, the awaitable ones in :mod:`qemu_blocksdk.aio`, the block
device options in :mod:`qemu_blocksdk.blockdev`, the errors in :mod:`qemu_blocksdk.errors`,
every QMP command and event in :mod:`qemu_blocksdk.wire`. Each is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blockdev.drive import Drive
    from .blocking.objects import (
        VM,
        Backup,
        Bitmap,
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
    from .objects.launch import Chardev, Console, InheritedFd

__all__ = [
    "VM",
    "Backup",
    "Bitmap",
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

_HOMES = {"Drive": ".blockdev.drive", "Secret": ".codec"} | dict.fromkeys(
    ("Chardev", "Console", "InheritedFd"), ".objects.launch"
)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, ".blocking.objects")
    return getattr(importlib.import_module(home, __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
