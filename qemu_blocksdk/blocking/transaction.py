# Generated from objects/transaction.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.transaction.AsyncTransaction`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from qemu_blocksdk.objects.transaction import AsyncTransaction
    from qemu_blocksdk.wire import (
        BitmapSyncMode,
        BlockdevOnError,
        MirrorSyncMode,
        NewImageMode,
        TransactionAction,
    )

    from .bitmap import Bitmap
    from .job import Job
    from .node import Node


class Transaction(SyncProxy):
    """Actions that are collected and then carried out together (``transaction``).

    Got from :meth:`BlockLayer.transaction`. Each verb adds an action, :meth:`commit` carries
    them out, once.
    """

    @property
    def _async(self) -> AsyncTransaction:
        return cast("AsyncTransaction", self._reach())

    @property
    def actions(self) -> Sequence[TransactionAction]:
        """The actions so far, in order."""
        return self._async.actions

    def add(self, action: TransactionAction) -> None:
        """Add an action as QMP has it; the job of one that starts a job is ours to dismiss."""
        return background_loop.call(lambda: self._async.add(action))

    def add_bitmap(
        self,
        bitmap: Bitmap,
        *,
        granularity: int | None = None,
        persistent: bool = False,
        disabled: bool = False,
    ) -> None:
        """Create a bitmap; see :meth:`Bitmap.add`."""
        return background_loop.call(
            lambda: self._async.add_bitmap(
                bitmap._async,
                granularity=granularity,
                persistent=persistent,
                disabled=disabled,
            )
        )

    def remove_bitmap(self, bitmap: Bitmap) -> None:
        """Delete a bitmap."""
        return background_loop.call(lambda: self._async.remove_bitmap(bitmap._async))

    def clear_bitmap(self, bitmap: Bitmap) -> None:
        """Forget what a bitmap has marked."""
        return background_loop.call(lambda: self._async.clear_bitmap(bitmap._async))

    def enable_bitmap(self, bitmap: Bitmap) -> None:
        """Let a bitmap record."""
        return background_loop.call(lambda: self._async.enable_bitmap(bitmap._async))

    def disable_bitmap(self, bitmap: Bitmap) -> None:
        """Let a bitmap record no longer."""
        return background_loop.call(lambda: self._async.disable_bitmap(bitmap._async))

    def merge_bitmaps(self, target: Bitmap, sources: Sequence[Bitmap]) -> None:
        """Add to a bitmap what others have marked; see :meth:`Bitmap.merge`."""
        return background_loop.call(
            lambda: self._async.merge_bitmaps(target._async, [item._async for item in sources])
        )

    def backup(
        self,
        source: Node,
        target: Node,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: Bitmap | None = None,
        bitmap_mode: BitmapSyncMode | None = None,
        speed: int | None = None,
        compress: bool | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        auto_finalize: bool | None = None,
        auto_dismiss: bool | None = None,
        job_id: str | None = None,
    ) -> None:
        """Start a backup, see :meth:`Node.backup`; :meth:`commit` returns its job."""
        return background_loop.call(
            lambda: self._async.backup(
                source._async,
                target._async,
                sync=sync,
                bitmap=None if bitmap is None else bitmap._async,
                bitmap_mode=bitmap_mode,
                speed=speed,
                compress=compress,
                on_source_error=on_source_error,
                on_target_error=on_target_error,
                auto_finalize=auto_finalize,
                auto_dismiss=auto_dismiss,
                job_id=job_id,
            )
        )

    def snapshot(self, node: Node, overlay: Node) -> None:
        """Put an overlay on a node; see :meth:`Node.snapshot`."""
        return background_loop.call(lambda: self._async.snapshot(node._async, overlay._async))

    def snapshot_sync(
        self,
        node: Node,
        snapshot_file: str | os.PathLike[str],
        *,
        snapshot_node_name: str | None = None,
        format: str | None = None,
        mode: NewImageMode | None = None,
        replace: bool = False,
    ) -> None:
        """Put an overlay on a node that QEMU creates; see :meth:`Node.snapshot_sync`."""
        return background_loop.call(
            lambda: self._async.snapshot_sync(
                node._async,
                snapshot_file,
                snapshot_node_name=snapshot_node_name,
                format=format,
                mode=mode,
                replace=replace,
            )
        )

    def snapshot_internal(self, node: Node, name: str) -> None:
        """Make a snapshot inside a node's image; see :meth:`Node.snapshot_internal`."""
        return background_loop.call(lambda: self._async.snapshot_internal(node._async, name))

    def abort(self) -> None:
        """Let the transaction fail, after all actions before have been tried."""
        return background_loop.call(lambda: self._async.abort())

    def commit(self, *, timeout: float | None = None) -> list[Job]:
        """Carry out the actions, all or none; return the jobs that they started, in order.

        With completion mode ``grouped`` the jobs complete together, or all fail or are
        cancelled with the first that does. Raises TransactionFailed when QEMU refuses,
        StateError the second time, GraphError for a bitmap to enable that is not there, else as
        :meth:`Qmp.execute`; nothing has happened and no job is left behind then. Given up at
        the limit, it may have happened; its jobs are cancelled, which takes CLEANUP_TIMEOUT more at
        the most.
        """
        background_loop.assert_running()
        from . import Job

        return [Job._of(item) for item in background_loop.run(self._async.commit(timeout=timeout))]
