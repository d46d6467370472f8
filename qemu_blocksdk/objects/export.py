"""An export of a running QEMU: how it is added, what it is, how it goes.

Every kind of export is one class, with what reaches it in a subclass. It listens for its own
deletion since before it was added, so nobody else's is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Literal, Self, TypedDict

from qemu_blocksdk.errors import BlockSdkError, ConnectionLost, DeadlineExceeded, StateError
from qemu_blocksdk.qmp import AsyncQmp, clean_up, run_with_cleanup
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.wire import (
    BlockExportAdd,
    BlockExportDel,
    BlockExportDeleted,
    BlockExportInfo,
    BlockExportOptions,
    BlockExportType,
    QueryBlockExports,
)

from ._base import Live, subject
from .cleanup import FileCleanup
from .node import AsyncNode


class ExportOptions(TypedDict, total=False):
    """What can be said of an export of every kind.

    Clients may write where it is ``writable`` (False), and have written when they are told so with
    ``writethrough`` (False). An ``iothread``, by its id, serves the export; with
    ``fixed_iothread`` (False) QEMU refuses an export whose node it cannot move there, and never
    moves it again. ``allow_inactive`` is only in QEMU 10.0.
    """

    writable: bool
    writethrough: bool
    iothread: str
    fixed_iothread: bool
    allow_inactive: bool


@sealed_class
class AsyncExport(Live, AsyncResource):
    """An export of a node; leaving the block removes it, whoever is connected.

    Got from the verb that adds it, or from ``query_exports``. A verb that comes when it is
    gone raises StateError.
    """

    def __init__(
        self, qmp: AsyncQmp, export_id: str, kind: BlockExportType, node: AsyncNode
    ) -> None:
        self._qmp = qmp
        self._id = export_id
        self._kind: BlockExportType = kind
        self._node = node
        self._is_deleted = False
        self._events = qmp.events(BlockExportDeleted.where(id=export_id))

    async def _added_by(self, owner: Live, options: BlockExportOptions) -> Self:
        """Add it, as a verb of ``owner``."""
        return await run_with_cleanup(self._add(owner, options), owner=self._qmp)

    async def _add(self, owner: Live, options: BlockExportOptions) -> Self:
        try:
            await owner._execute(BlockExportAdd(options=options))
            self._on_added()
        except (asyncio.CancelledError, DeadlineExceeded):
            # Given up while it was on its way: it may be there.
            await self._leave(None)
            raise
        except BaseException:
            self._events.close()
            raise
        return self

    def _on_added(self) -> None:
        """Note what it has left outside of QEMU."""

    @property
    def id(self) -> str:
        """The export's id in QEMU."""
        return self._id

    @property
    def kind(self) -> BlockExportType:
        """How it is exported: ``nbd``, ``fuse``, ..."""
        return self._kind

    @property
    def node(self) -> AsyncNode:
        """The node that is exported; QEMU refuses to delete it meanwhile."""
        return self._node

    async def query_info(self) -> BlockExportInfo:
        """Ask for the export as it is now (``query-block-exports``). Raises StateError."""
        if not self._has_gone():
            for info in await self._execute(QueryBlockExports()):
                if info.id == self._id:
                    return info
        raise StateError(subject(self), verb="query-block-exports")

    async def wait_deleted(self, *, timeout: float | None = None) -> None:
        """Wait until the export is gone, whoever removes it (``BLOCK_EXPORT_DELETED``).

        ``timeout`` is in seconds. Raises DeadlineExceeded, ConnectionLost.
        """
        async with within(timeout, f"the end of {subject(self)}"):
            try:
                if not self._has_gone():
                    await self._events.get()
                    self._note_deleted()
            except ConnectionLost:
                if not self._is_deleted:  # else another waiter has closed the stream
                    raise

    async def delete(
        self, *, mode: Literal["safe", "hard"] = "safe", timeout: float = 10.0
    ) -> None:
        """Remove the export (``block-export-del``) and wait until it is gone.

        ``safe`` refuses, with a CommandError, while an NBD client is connected; ``hard``
        disconnects it. QEMU does not count clients of other kinds: they lose the export either
        way.
        Raises StateError when it is gone already, DeadlineExceeded after ``timeout`` seconds.
        """
        async with within(timeout, f"the end of {subject(self)}"):
            await self._delete(mode)

    async def _delete(self, mode: Literal["safe", "hard"]) -> None:
        # Another export may have the id by now.
        if self._has_gone():
            raise StateError(subject(self), verb="block-export-del")
        await self._execute(BlockExportDel(id=self._id, mode=mode))
        await self.wait_deleted()

    def _has_gone(self) -> bool:
        if not self._is_deleted and self._events.get_nowait() is not None:
            self._note_deleted()
        return self._is_deleted

    def _note_deleted(self) -> None:
        self._is_deleted = True
        self._events.close()  # which wakes whoever else waits

    async def _leave(self, error: BaseException | None) -> None:
        with contextlib.suppress(BlockSdkError):
            await clean_up(self._remove(), owner=self._qmp)

    async def _remove(self) -> None:
        await self._delete("hard")

    def _words(self) -> str:
        """What tells it from others, for people."""
        return f"{self._kind} export {self._id!r} of {self._node.name!r}"

    def __repr__(self) -> str:
        return f"<{self._words()}{': deleted' if self._is_deleted else ''}>"


@sealed_class
class AsyncUriExport(AsyncExport):
    """An export for NBD clients, by the NBD server of its QEMU."""

    def __init__(self, qmp: AsyncQmp, export_id: str, node: AsyncNode, uri: NbdUri) -> None:
        super().__init__(qmp, export_id, "nbd", node)
        self._uri = uri

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export."""
        return self._uri

    async def write(self, offset: int, length: int, *, pattern: int = 0xCD) -> None:
        """Write ``length`` bytes of ``pattern`` (0 to 255) at ``offset``, as an NBD client.

        Runs ``qemu-io``; as :meth:`AsyncQemuIo.write`. Raises UsageError where that would
        need TLS credentials.
        """
        # Imported here: a program that only exports does without the tools.
        from .image import AsyncImage
        from .qemu_io import AsyncQemuIo

        async with AsyncQemuIo(AsyncImage.at_uri(self._uri)) as io:
            await io.write(offset, length, pattern=pattern)

    def _words(self) -> str:
        return f"{super()._words()} at {self._uri}"


@sealed_class
class AsyncFileExport(AsyncExport):
    """An export that a client opens by a path: FUSE, vhost-user-blk or VDUSE.

    It is not there any more, either, when QEMU was killed and the block is left, or QEMU stopped.
    """

    def __init__(
        self,
        qmp: AsyncQmp,
        export_id: str,
        kind: BlockExportType,
        node: AsyncNode,
        *,
        path: str,
        file_cleanup: FileCleanup,
    ) -> None:
        super().__init__(qmp, export_id, kind, node)
        self._path = path
        self._file_cleanup = file_cleanup

    @property
    def path(self) -> Path:
        """The file over which FUSE is mounted, the vhost-user socket, or the VDUSE device."""
        return Path(self._path)

    def _on_added(self) -> None:
        if self._kind == "fuse":
            self._file_cleanup.note_mount(self._path)
        elif self._kind == "vhost-user-blk":
            self._file_cleanup.note_socket(self._path)

    async def _remove(self) -> None:
        try:
            await super()._remove()
        finally:
            await self._file_cleanup.remove(self._path)

    def _words(self) -> str:
        return f"{super()._words()} at {self._path}"
