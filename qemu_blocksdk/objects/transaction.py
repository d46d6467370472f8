"""Actions that QEMU carries out together or not at all."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from qemu_blocksdk import wire  # loads each of its modules on first use
from qemu_blocksdk.codec import encode
from qemu_blocksdk.codec.filename import qemu_name
from qemu_blocksdk.errors import CommandError, StateError, TransactionFailed
from qemu_blocksdk.qmp import AsyncQmp, run_with_cleanup
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.atomic_write import assert_absent

from ._base import Live, subject
from .bitmap import AsyncBitmap
from .job import AsyncJob, starting
from .names import temporary_name

if TYPE_CHECKING:
    from qemu_blocksdk.wire import (
        ActionCompletionMode,
        BitmapSyncMode,
        BlockdevBackup,
        BlockdevOnError,
        BlockDirtyBitmap,
        MirrorSyncMode,
        NewImageMode,
        TransactionAction,
    )

    from .node import AsyncNode


@sealed_class
class AsyncTransaction(Live):
    """Actions that are collected and then carried out together (``transaction``).

    Got from :meth:`AsyncBlockLayer.transaction`. Each verb adds an action, :meth:`commit` carries
    them out, once.
    """

    def __init__(
        self, qmp: AsyncQmp, *, completion_mode: ActionCompletionMode | None = None
    ) -> None:
        self._qmp = qmp
        self._completion_mode: ActionCompletionMode | None = completion_mode
        self._actions: list[TransactionAction] = []
        self._jobs: list[AsyncJob] = []
        self._added: list[BlockDirtyBitmap] = []
        self._needed: list[AsyncBitmap] = []
        self._is_committed = False

    @property
    def actions(self) -> Sequence[TransactionAction]:
        """The actions so far, in order."""
        return tuple(self._actions)

    def add(self, action: TransactionAction) -> None:
        """Add an action as QMP has it; the job of one that starts a job is ours to dismiss."""
        kind = action.type.removeprefix("blockdev-").removeprefix("drive-")
        if kind == "backup":
            data = cast("BlockdevBackup", action.data)
            job = AsyncJob(
                self._qmp,
                data.job_id or temporary_name(self._qmp),
                "backup",
                auto_finalize=data.auto_finalize is not False,
                auto_dismiss=data.auto_dismiss is not False,
            )
            self._jobs.append(job)
            action = action.evolve(data=data.evolve(job_id=job.id, auto_dismiss=False))
        self._actions.append(action)

    def add_bitmap(
        self,
        bitmap: AsyncBitmap,
        *,
        granularity: int | None = None,
        persistent: bool = False,
        disabled: bool = False,
    ) -> None:
        """Create a bitmap; see :meth:`AsyncBitmap.add`."""
        self._added.append(bitmap._on_wire())
        data = bitmap._add(granularity=granularity, persistent=persistent, disabled=disabled)
        self.add(wire.TransactionActionBlockDirtyBitmapAdd(data=data))

    def remove_bitmap(self, bitmap: AsyncBitmap) -> None:
        """Delete a bitmap."""
        self.add(wire.TransactionActionBlockDirtyBitmapRemove(data=bitmap._on_wire()))

    def clear_bitmap(self, bitmap: AsyncBitmap) -> None:
        """Forget what a bitmap has marked."""
        self.add(wire.TransactionActionBlockDirtyBitmapClear(data=bitmap._on_wire()))

    def enable_bitmap(self, bitmap: AsyncBitmap) -> None:
        """Let a bitmap record."""
        # QEMU up to 10.0: dies of a bitmap that is not there, so we look for it first.
        if bitmap._on_wire() not in self._added:
            self._needed.append(bitmap)
        self.add(wire.TransactionActionBlockDirtyBitmapEnable(data=bitmap._on_wire()))

    def disable_bitmap(self, bitmap: AsyncBitmap) -> None:
        """Let a bitmap record no longer."""
        self.add(wire.TransactionActionBlockDirtyBitmapDisable(data=bitmap._on_wire()))

    def merge_bitmaps(self, target: AsyncBitmap, sources: Sequence[AsyncBitmap]) -> None:
        """Add to a bitmap what others have marked; see :meth:`AsyncBitmap.merge`."""
        self.add(wire.TransactionActionBlockDirtyBitmapMerge(data=target._merge(sources)))

    def backup(
        self,
        source: AsyncNode,
        target: AsyncNode,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: AsyncBitmap | None = None,
        bitmap_mode: BitmapSyncMode | None = None,
        speed: int | None = None,
        compress: bool | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        auto_finalize: bool | None = None,
        auto_dismiss: bool | None = None,
        job_id: str | None = None,
    ) -> None:
        """Start a backup, see :meth:`AsyncNode.backup`; :meth:`commit` returns its job."""
        data = wire.BlockdevBackup(
            job_id=job_id,
            device=source.name,
            target=target.name,
            sync=sync,
            bitmap=None if bitmap is None else bitmap.name,
            bitmap_mode=bitmap_mode,
            speed=speed,
            compress=compress,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            auto_finalize=auto_finalize,
            auto_dismiss=auto_dismiss,
        )
        self.add(wire.TransactionActionBlockdevBackup(data=data))

    def snapshot(self, node: AsyncNode, overlay: AsyncNode) -> None:
        """Put an overlay on a node; see :meth:`AsyncNode.snapshot`."""
        data = wire.BlockdevSnapshot(node=node.name, overlay=overlay.name)
        self.add(wire.TransactionActionBlockdevSnapshot(data=data))

    def snapshot_sync(
        self,
        node: AsyncNode,
        snapshot_file: str | os.PathLike[str],
        *,
        snapshot_node_name: str | None = None,
        format: str | None = None,
        mode: NewImageMode | None = None,
        replace: bool = False,
    ) -> None:
        """Put an overlay on a node that QEMU creates; see :meth:`AsyncNode.snapshot_sync`."""
        if mode != "existing":
            assert_absent(snapshot_file, replace=replace)
        data = wire.BlockdevSnapshotSync(
            node_name=node.name,
            snapshot_file=qemu_name(snapshot_file),
            snapshot_node_name=snapshot_node_name,
            format=format,
            mode=mode,
        )
        self.add(wire.TransactionActionBlockdevSnapshotSync(data=data))

    def snapshot_internal(self, node: AsyncNode, name: str) -> None:
        """Make a snapshot inside a node's image; see :meth:`AsyncNode.snapshot_internal`."""
        data = wire.BlockdevSnapshotInternal(device=node.name, name=name)
        self.add(wire.TransactionActionBlockdevSnapshotInternalSync(data=data))

    def abort(self) -> None:
        """Let the transaction fail, after all actions before have been tried."""
        self.add(wire.TransactionActionAbort(data=wire.Abort()))

    async def commit(self, *, timeout: float | None = None) -> list[AsyncJob]:
        """Carry out the actions, all or none; return the jobs that they started, in order.

        With completion mode ``grouped`` the jobs complete together, or all fail or are
        cancelled with the first that does. Raises TransactionFailed when QEMU refuses,
        StateError the second time, GraphError for a bitmap to enable that is not there, else as
        :meth:`AsyncQmp.execute`; nothing has happened and no job is left behind then. Given up at
        the limit, it may have happened; its jobs are cancelled, which takes CLEANUP_TIMEOUT more at
        the most.
        """
        if self._is_committed:
            raise StateError(subject(self), verb="commit")
        self._is_committed = True
        what = f"the commit of {subject(self)}"
        work = self._commit(timeout)
        return await run_with_cleanup(work, timeout=timeout, waited_for=what, owner=self._qmp)

    async def _commit(self, timeout: float | None) -> list[AsyncJob]:
        for bitmap in self._needed:
            await bitmap.query_info()
        properties = None
        if self._completion_mode is not None:
            properties = wire.TransactionProperties(completion_mode=self._completion_mode)
        command = wire.Transaction(actions=self._actions, properties=properties)
        async with starting(*self._jobs):
            try:
                await self._execute(command, timeout=None if timeout is None else math.inf)
            except CommandError as refusal:
                raise self._failure(refusal) from refusal
        return self._jobs

    def _failure(self, refusal: CommandError) -> TransactionFailed:
        """Find the actions that QEMU's words are about, by the names in both."""
        hits = [_names_in(action, refusal.desc) for action in self._actions]
        most = max(hits, default=0)
        suspects = [number for number, hit in enumerate(hits) if hit == most > 0]
        kinds = ", ".join(f"action {n}: {self._actions[n].type}" for n in suspects)
        failure = TransactionFailed(refusal, suspects, kinds)
        failure.subject = refusal.subject
        return failure

    def __repr__(self) -> str:
        return f"<transaction of {len(self._actions)} actions>"


_NAMES = ("node", "name", "device", "target", "node-name", "overlay", "bitmap", "job-id")


def _names_in(action: TransactionAction, words: str) -> int:
    """How many of the names that an action uses stand in a text."""
    data = encode(action.data)
    names = {str(data[key]) for key in _NAMES if isinstance(data.get(key), str)}
    if action.type == "abort":
        names.add("Abort")
    return sum(
        re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", words) is not None for name in names
    )
