"""The async objects, written by hand, once; ``blocking`` is generated from them."""

from .bitmap import AsyncBitmap
from .daemon import AsyncStorageDaemon
from .export import AsyncExport, AsyncNbdServer
from .image import AsyncImage
from .job import AsyncJob
from .node import AsyncNode
from .qemu import AsyncQemu
from .qemu_io import AsyncQemuIo
from .vm import Accelerator, AsyncVM

__all__ = [
    "Accelerator",
    "AsyncBitmap",
    "AsyncExport",
    "AsyncImage",
    "AsyncJob",
    "AsyncNbdServer",
    "AsyncNode",
    "AsyncQemu",
    "AsyncQemuIo",
    "AsyncStorageDaemon",
    "AsyncVM",
]
