"""The objects for callers that use asyncio. Same names as the blocking ones, Async in front."""

from .objects import (
    AsyncBitmap,
    AsyncExport,
    AsyncExportServer,
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
    AsyncVM,
)
from .qmp import AsyncEventStream, AsyncProcess, AsyncQmp
from .recipes import AsyncBackup, AsyncPointInTime

__all__ = [
    "AsyncBackup",
    "AsyncBitmap",
    "AsyncEventStream",
    "AsyncExport",
    "AsyncExportServer",
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
    "AsyncVM",
]
