# Generated from objects/bitmap.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.bitmap.AsyncBitmap`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qemu_blocksdk.objects.bitmap import AsyncBitmap
    from qemu_blocksdk.wire import BlockDirtyInfo

    from .node import Node


class Bitmap(SyncProxy):
    """A dirty bitmap of a node, by its name."""

    @property
    def _async(self) -> AsyncBitmap:
        return cast("AsyncBitmap", self._reach())

    @property
    def name(self) -> str:
        """The bitmap's name, unique within its node."""
        return self._async.name

    @property
    def node(self) -> Node:
        """The node that the bitmap belongs to."""
        background_loop.assert_running()
        from . import Node

        return Node._of(self._async.node)

    def query_info(self, *, recording: bool | None = None) -> BlockDirtyInfo:
        """Return what QEMU knows of the bitmap: ``count`` dirty bytes, ``granularity``...

        Of those that do, or do not, record, if that is asked for. Raises GraphError when the
        node is not there or has no such bitmap.
        """
        return background_loop.run(self._async.query_info(recording=recording))

    def query_matches(
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
        work = self._async.query_matches(
            count=count,
            granularity=granularity,
            recording=recording,
            busy=busy,
            persistent=persistent,
            inconsistent=inconsistent,
        )
        return background_loop.run(work)

    def query_obstacle(self) -> str | None:
        """Say why QEMU would start no job with the bitmap; None where nothing is in the way.

        It may be in use by another operation, or unusable since its image was not closed.
        A bitmap that is disabled, or whose image is read-only, is no obstacle to reading it.
        """
        return background_loop.run(self._async.query_obstacle())

    def query_sha256(self) -> str:
        """Return the SHA-256 of the bitmap's bits (``x-debug-block-dirty-bitmap-sha256``)."""
        return background_loop.run(self._async.query_sha256())

    def add(
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
        work = self._async.add(granularity=granularity, persistent=persistent, disabled=disabled)
        return background_loop.run(work)

    def remove(self) -> None:
        """Delete the bitmap, also from the image (``block-dirty-bitmap-remove``).

        This and all that changes it raise CommandError when it is busy or not there.
        """
        return background_loop.run(self._async.remove())

    def clear(self) -> None:
        """Forget what was written (``block-dirty-bitmap-clear``)."""
        return background_loop.run(self._async.clear())

    def enable(self) -> None:
        """Begin to record (``block-dirty-bitmap-enable``)."""
        return background_loop.run(self._async.enable())

    def disable(self) -> None:
        """Stop to record (``block-dirty-bitmap-disable``)."""
        return background_loop.run(self._async.disable())

    def merge(self, sources: Sequence[Bitmap]) -> None:
        """Add what other bitmaps, also of other nodes, have marked (``block-dirty-bitmap-merge``).

        All or none is merged. The nodes have to be of one size.
        """
        return background_loop.run(self._async.merge([item._async for item in sources]))
