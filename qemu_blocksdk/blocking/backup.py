# Generated from recipes/backup.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.recipes.backup.AsyncBackup`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.recipes.backup import AsyncBackup

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from qemu_blocksdk.tools import CreationOptions
    from qemu_blocksdk.tools.progress import ToolProgress

    from .block_layer import BlockLayer
    from .image import Image
    from .node import Node
    from .operation import Operation


class Backup(SyncProxy):
    """Backups of disks of one QEMU, all of one moment, into new images.

    Each disk has two bitmaps: ``NAME`` marks what changed since its last full or incremental
    backup, ``NAME-full`` since its last full one. They are changed for all disks or for none,
    and only when the images are complete; an image appears under its name when it is whole.
    An image with a secret is encrypted. What a client left that was killed is removed first
    (:meth:`BlockLayer.clear_leftovers`).
    """

    @property
    def _async(self) -> AsyncBackup:
        return cast("AsyncBackup", self._reach())

    def __init__(
        self,
        qemu: BlockLayer,
        *,
        bitmap: str = "backup",
        persistent: bool = True,
    ) -> None:
        """Describe a backup of no disk yet.

        ``persistent`` stores the bitmaps in the disks' images, which then have to be qcow2.
        """
        self._hold(background_loop.call(
            lambda: AsyncBackup(qemu._async, bitmap=bitmap, persistent=persistent)
        ))

    def add_disk(
        self,
        node: Node,
        target: Image,
        *,
        base: Image | None = None,
        options: CreationOptions | None = None,
    ) -> None:
        """Add a disk, the image to make, and the backup that a smaller one builds on.

        The ``base`` of an incremental backup is the last full or incremental one, that of a
        differential one the last full one. It has to be of the disk's size: after a resize
        make a full backup. The ``target`` is a new file: one that is there is never replaced, nor
        is a device written. ``options`` are those of the new image, of the target's format.
        """
        return background_loop.call(
            lambda: self._async.add_disk(
                node._async,
                target._async,
                base=None if base is None else base._async,
                options=options,
            )
        )

    def full(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Back up all content; from now on the bitmaps mark what changes.

        Raises UsageError where there is no disk, where a disk or a target was added twice, and
        for a target that cannot be made as it is described: all before the start. Raises
        UsageError for an image that is there already, for a disk that cannot store bitmaps
        (``persistent=False`` does without) and while another backup by these bitmaps is under
        way; JobFailed, CommandError, ConnectionLost.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.full(
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_full(self) -> Operation[None]:
        """Start :meth:`full`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_full()
        )))

    def incremental(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Back up what changed since the last full or incremental backup.

        The targets have to be qcow2. Raises as :meth:`full`, and GraphError
        where there is no bitmap of it; UsageError where the bitmap is of no use, and for a base
        that is not of the disk's size, has lost a part of its chain, or is known not to be the
        last backup.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.incremental(
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_incremental(self) -> Operation[None]:
        """Start :meth:`incremental`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_incremental()
        )))

    def differential(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Back up what changed since the last full backup; see :meth:`incremental`."""
        return background_loop.run_with_progress(
            lambda report: self._async.differential(
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_differential(self) -> Operation[None]:
        """Start :meth:`differential`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_differential()
        )))
