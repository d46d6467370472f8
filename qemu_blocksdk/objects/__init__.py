"""The async objects, written by hand, once; ``blocking`` is generated from them."""

from .bitmap import AsyncBitmap
from .daemon import AsyncStorageDaemon
from .emulator import Emulator
from .export import AsyncExport, AsyncFileExport, AsyncUriExport, ExportOptions
from .export_server import AsyncExportServer, ExportServerOptions
from .image import AsyncImage
from .job import AsyncJob
from .launch import Chardev, Console, Drive, InheritedFd, QemuOptions
from .nbd_daemon import AsyncNbdDaemon
from .nbd_server import AsyncNbdServer
from .node import AsyncNode
from .operation import AsyncOperation
from .qemu import AsyncQemu
from .qemu_io import AsyncQemuIo
from .toolchain import AsyncToolchain
from .transaction import AsyncTransaction
from .vm import Accelerator, AsyncVM

__all__ = [
    "Accelerator",
    "AsyncBitmap",
    "AsyncExport",
    "AsyncExportServer",
    "AsyncFileExport",
    "AsyncImage",
    "AsyncJob",
    "AsyncNbdDaemon",
    "AsyncNbdServer",
    "AsyncNode",
    "AsyncOperation",
    "AsyncQemu",
    "AsyncQemuIo",
    "AsyncStorageDaemon",
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
    "QemuOptions",
]
