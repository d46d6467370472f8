"""The async objects, written by hand, once; ``blocking`` is generated from them.

Each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.lazy import loader

if TYPE_CHECKING:
    from qemu_blocksdk.blockdev.drive import Drive
    from qemu_blocksdk.tools.qemu_args import Chardev, Console, InheritedFd

    from .bitmap import AsyncBitmap
    from .block_layer import AsyncBlockLayer
    from .device import AsyncDevice
    from .emulator import Emulator
    from .export import AsyncExport, AsyncFileExport, AsyncUriExport, ExportOptions
    from .export_server import AsyncExportServer, ExportServerOptions
    from .image import AsyncImage
    from .iothread import AsyncIoThread, IoThreadParameters
    from .job import AsyncJob
    from .leftovers import Leftover, LeftoverKind
    from .migration import AsyncMigration
    from .nbd_daemon import AsyncNbdDaemon
    from .nbd_server import AsyncNbdServer
    from .node import AsyncNode, JobOptions, NodeEvent
    from .node_io import AsyncNodeIo
    from .operation import AsyncOperation
    from .process import QemuOptions
    from .qemu import AsyncQemu
    from .qemu_io import AsyncQemuIo
    from .storage_daemon import AsyncStorageDaemon
    from .throttle_group import AsyncThrottleGroup
    from .toolchain import AsyncToolchain
    from .transaction import AsyncTransaction
    from .vm import Accelerator, AsyncVM, VirtioDisk

__all__ = [
    "Accelerator",
    "AsyncBitmap",
    "AsyncBlockLayer",
    "AsyncDevice",
    "AsyncExport",
    "AsyncExportServer",
    "AsyncFileExport",
    "AsyncImage",
    "AsyncIoThread",
    "AsyncJob",
    "AsyncMigration",
    "AsyncNbdDaemon",
    "AsyncNbdServer",
    "AsyncNode",
    "AsyncNodeIo",
    "AsyncOperation",
    "AsyncQemu",
    "AsyncQemuIo",
    "AsyncStorageDaemon",
    "AsyncThrottleGroup",
    "AsyncToolchain",
    "AsyncTransaction",
    "AsyncUriExport",
    "AsyncVM",
    "Chardev",
    "Console",
    "Drive",
    "Emulator",
    "ExportOptions",
    "ExportServerOptions",
    "InheritedFd",
    "IoThreadParameters",
    "JobOptions",
    "Leftover",
    "LeftoverKind",
    "NodeEvent",
    "QemuOptions",
    "VirtioDisk",
]

_HOMES = {
    "Accelerator": "vm",
    "AsyncBitmap": "bitmap",
    "AsyncBlockLayer": "block_layer",
    "AsyncDevice": "device",
    "AsyncExport": "export",
    "AsyncExportServer": "export_server",
    "AsyncFileExport": "export",
    "AsyncImage": "image",
    "AsyncIoThread": "iothread",
    "AsyncJob": "job",
    "AsyncMigration": "migration",
    "AsyncNbdDaemon": "nbd_daemon",
    "AsyncNbdServer": "nbd_server",
    "AsyncNode": "node",
    "AsyncNodeIo": "node_io",
    "AsyncOperation": "operation",
    "AsyncQemu": "qemu",
    "AsyncQemuIo": "qemu_io",
    "AsyncStorageDaemon": "storage_daemon",
    "AsyncThrottleGroup": "throttle_group",
    "AsyncToolchain": "toolchain",
    "AsyncTransaction": "transaction",
    "AsyncUriExport": "export",
    "AsyncVM": "vm",
    "Chardev": ".tools.qemu_args",
    "Console": ".tools.qemu_args",
    "Drive": ".blockdev.drive",
    "Emulator": "emulator",
    "ExportOptions": "export",
    "ExportServerOptions": "export_server",
    "InheritedFd": ".tools.qemu_args",
    "IoThreadParameters": "iothread",
    "JobOptions": "node",
    "Leftover": "leftovers",
    "LeftoverKind": "leftovers",
    "NodeEvent": "node",
    "QemuOptions": "process",
    "VirtioDisk": "vm",
}

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
