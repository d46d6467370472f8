"""The objects for callers that use asyncio. Same names as the blocking ones, Async in front."""

from .objects import (
    AsyncBitmap,
    AsyncExport,
    AsyncExportServer,
    AsyncFileExport,
    AsyncImage,
    AsyncJob,
    AsyncNbdDaemon,
    AsyncNbdServer,
    AsyncNode,
    AsyncOperation,
    AsyncQemuIo,
    AsyncStorageDaemon,
    AsyncToolchain,
    AsyncTransaction,
    AsyncUriExport,
    AsyncVM,
)
from .qmp import AsyncEventStream, AsyncProcess, AsyncQmp
from .recipes import AsyncBackup, AsyncDisk, AsyncPointInTime

__all__ = [
    "AsyncBackup",
    "AsyncBitmap",
    "AsyncDisk",
    "AsyncEventStream",
    "AsyncExport",
    "AsyncExportServer",
    "AsyncFileExport",
    "AsyncImage",
    "AsyncJob",
    "AsyncNbdDaemon",
    "AsyncNbdServer",
    "AsyncNode",
    "AsyncOperation",
    "AsyncPointInTime",
    "AsyncProcess",
    "AsyncQemuIo",
    "AsyncQmp",
    "AsyncStorageDaemon",
    "AsyncToolchain",
    "AsyncTransaction",
    "AsyncUriExport",
    "AsyncVM",
]
