"""Dirty bitmaps: which parts of a node have been written since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.qmp import AsyncQmp
from qemu_blocksdk.wire import BlockDirtyBitmapAdd, BlockDirtyBitmapRemove

from .live import Live

if TYPE_CHECKING:
    from .node import AsyncNode


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
            BlockDirtyBitmapAdd(
                node=self._node.name,
                name=self._name,
                granularity=granularity,
                persistent=persistent,
                disabled=disabled,
            )
        )

    async def remove(self) -> None:
        """Delete the bitmap, also from the image (``block-dirty-bitmap-remove``)."""
        await self._execute(BlockDirtyBitmapRemove(node=self._node.name, name=self._name))

    def __repr__(self) -> str:
        return f"<bitmap {self._name!r} of {self._node.name!r}>"
