"""The async objects, written by hand, once; ``blocking`` is generated from them."""

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
