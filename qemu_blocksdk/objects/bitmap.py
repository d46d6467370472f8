"""Dirty bitmaps: which parts of a node have been written since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qemu_blocksdk.errors import GraphError
from qemu_blocksdk.qmp import AsyncQmp
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import (
    BlockDirtyBitmap,
    BlockDirtyBitmapAdd,
    BlockDirtyBitmapClear,
    BlockDirtyBitmapDisable,
    BlockDirtyBitmapEnable,
    BlockDirtyBitmapMerge,
    BlockDirtyBitmapRemove,
    BlockDirtyInfo,
    XDebugBlockDirtyBitmapSha256,
)

from ._base import Live

if TYPE_CHECKING:
    from .node import AsyncNode


@sealed_class
class AsyncBitmap(Live):
    """A dirty bitmap of a node, by its name."""

    def __init__(self, qmp: AsyncQmp, node: AsyncNode, name: str) -> None:
        self._qmp = qmp
        self._node = node
        self._name = name

    @property
    def name(self) -> str:
        """The bitmap's name, unique within its node."""
        return self._name

    @property
    def node(self) -> AsyncNode:
        """The node that the bitmap belongs to."""
        return self._node

    def _on_wire(self) -> BlockDirtyBitmap:
        return BlockDirtyBitmap(node=self._node.name, name=self._name)

    async def query_info(self, *, recording: bool | None = None) -> BlockDirtyInfo:
        """Return what QEMU knows of the bitmap: ``count`` dirty bytes, ``granularity``...

        Of those that do, or do not, record, if that is asked for. Raises GraphError when the
        node is not there or has no such bitmap.
        """
        infos = (await self._node.query_info()).dirty_bitmaps or []
        for info in infos:
            if info.name == self._name and recording in (None, info.recording):
                return info
        looked_for = f"bitmap {self._name!r}"
        if recording is not None:
            looked_for += f" that {'records' if recording else 'does not record'}"
        names = ", ".join(info.name or "(no name)" for info in infos)
        found = names or "none"
        raise GraphError(looked_for, found=found, path=f"node {self._node.name!r}")

    async def query_matches(
        self,
        *,
        count: int | None = None,
        granularity: int | None = None,
        recording: bool | None = None,
        busy: bool | None = None,
        persistent: bool | None = None,
        inconsistent: bool | None = None,
    ) -> bool:
        """Tell whether the bitmap is as said; what is not said may be anything.

        ``count`` and ``granularity`` are in bytes. Raises GraphError when it is not there.
        """
        info = await self.query_info()
        pairs = (
            (count, info.count),
            (granularity, info.granularity),
            (recording, info.recording),
            (busy, info.busy),
            (persistent, info.persistent),
            (inconsistent, bool(info.inconsistent)),
        )
        return all(wanted in (None, found) for wanted, found in pairs)

    async def query_obstacle(self) -> str | None:
        """Say why QEMU would start no job with the bitmap; None where nothing is in the way.

        It may be in use by another operation, or unusable since its image was not closed.
        A bitmap that is disabled, or whose image is read-only, is no obstacle to reading it.
        """
        info = await self.query_info()
        if info.inconsistent:
            return "it was not stored when its image was last in use: it can only be removed"
        if info.busy:
            return "a job, an export or a migration is using it"
        return None

    async def query_sha256(self) -> str:
        """Return the SHA-256 of the bitmap's bits (``x-debug-block-dirty-bitmap-sha256``)."""
        command = XDebugBlockDirtyBitmapSha256(node=self._node.name, name=self._name)
        return (await self._execute(command)).sha256

    async def add(
        self,
        *,
        granularity: int | None = None,
        persistent: bool = False,
        disabled: bool = False,
    ) -> None:
        """Create the bitmap (``block-dirty-bitmap-add``).

        ``granularity`` is in bytes, a power of two from 512; ``persistent`` stores it in
        the image when that is closed; a ``disabled`` one does not record. Raises
        CommandError when there is one of that name or the image cannot store it.
        """
        await self._execute(
            self._add(granularity=granularity, persistent=persistent, disabled=disabled)
        )

    def _add(
        self, *, granularity: int | None, persistent: bool, disabled: bool
    ) -> BlockDirtyBitmapAdd:
        return BlockDirtyBitmapAdd(
            node=self._node.name,
            name=self._name,
            granularity=granularity,
            persistent=persistent,
            disabled=disabled,
        )

    async def remove(self) -> None:
        """Delete the bitmap, also from the image (``block-dirty-bitmap-remove``).

        This and all that changes it raise CommandError when it is busy or not there.
        """
        await self._execute(BlockDirtyBitmapRemove(node=self._node.name, name=self._name))

    async def clear(self) -> None:
        """Forget what was written (``block-dirty-bitmap-clear``)."""
        await self._execute(BlockDirtyBitmapClear(node=self._node.name, name=self._name))

    async def enable(self) -> None:
        """Begin to record (``block-dirty-bitmap-enable``)."""
        await self._execute(BlockDirtyBitmapEnable(node=self._node.name, name=self._name))

    async def disable(self) -> None:
        """Stop to record (``block-dirty-bitmap-disable``)."""
        await self._execute(BlockDirtyBitmapDisable(node=self._node.name, name=self._name))

    async def merge(self, sources: Sequence[AsyncBitmap]) -> None:
        """Add what other bitmaps, also of other nodes, have marked (``block-dirty-bitmap-merge``).

        All or none is merged. The nodes have to be of one size.
        """
        await self._execute(self._merge(sources))

    def _merge(self, sources: Sequence[AsyncBitmap]) -> BlockDirtyBitmapMerge:
        return BlockDirtyBitmapMerge(
            node=self._node.name,
            target=self._name,
            bitmaps=[source._on_wire() for source in sources],
        )

    def __repr__(self) -> str:
        return f"<bitmap {self._name!r} of {self._node.name!r}>"
