"""Block nodes of a running QEMU: what they are, what changes them, and the jobs that start on them.

A node is a name on a connection: nothing is cached, every question goes to QEMU. What becomes of a
job that was started is in ``job.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, Unpack

from qemu_blocksdk import wire  # loads each of its modules on first use
from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec import NULL, Command
from qemu_blocksdk.codec.filename import qemu_name
from qemu_blocksdk.errors import GraphError, Unsupported, UsageError
from qemu_blocksdk.graph import Edge, GraphNode, listed
from qemu_blocksdk.jobs import JobProgress, JobResult
from qemu_blocksdk.qmp import AsyncEventStream, AsyncQmp, shielded
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.atomic_write import assert_absent
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.wire import (
    BlockdevDel,
    BlockDeviceInfo,
    BlockdevOptions,
    BlockdevReopen,
    BlockdevSetActive,
    BlockdevSnapshot,
    BlockdevSnapshotDeleteInternalSync,
    BlockdevSnapshotInternalSync,
    BlockdevSnapshotSync,
    BlockImageCorrupted,
    BlockIoError,
    BlockResize,
    BlockSetWriteThreshold,
    BlockStats,
    BlockWriteThreshold,
    ChangeBackingFile,
    NewImageMode,
    QueryBlockstats,
    QueryNamedBlockNodes,
    QuorumFailure,
    QuorumReportBad,
    SnapshotInfo,
    XBlockdevChange,
    XBlockdevSetIothread,
)

from ._base import Live, subject
from .bitmap import AsyncBitmap
from .chain import Chain, Chains
from .graph_query import query_graph
from .iothread import AsyncIoThread
from .job import AsyncJob, run_job
from .names import lasting_name, temporary_name

if TYPE_CHECKING:
    from qemu_blocksdk.wire import (
        BackupPerf,
        BitmapSyncMode,
        BlockdevAmendOptions,
        BlockdevOnError,
        JobType,
        MirrorCopyMode,
        MirrorSyncMode,
    )

    from .node_io import AsyncNodeIo


NodeEvent = (
    BlockIoError | BlockImageCorrupted | BlockWriteThreshold | QuorumFailure | QuorumReportBad
)
"""What QEMU tells of a node by itself."""


class JobOptions(TypedDict, total=False):
    """What every verb takes that starts a block job.

    ``speed`` is in bytes a second, 0 for no limit. With ``auto_finalize=False`` the job waits,
    ``pending``, for :meth:`AsyncJob.finalize`; with ``auto_dismiss=False`` it stays, ``concluded``,
    until :meth:`AsyncJob.dismiss`. ``filter_node_name`` is for the node that the job puts over
    this one.
    """

    job_id: str | None
    speed: int | None
    auto_finalize: bool
    auto_dismiss: bool
    filter_node_name: str | None


class _OnWire(TypedDict):
    job_id: str
    speed: int | None
    auto_finalize: bool
    auto_dismiss: bool
    filter_node_name: str | None


@sealed_class
class AsyncNode(Live):
    """A node of the block graph, by its name.

    Verbs that start a job raise CommandError when QEMU refuses to start it; what goes wrong later
    is the job's to report.
    """

    def __init__(self, qmp: AsyncQmp, name: str, chain: Chain | None = None) -> None:
        self._qmp = qmp
        self._name = name
        self._chain = chain

    @property
    def name(self) -> str:
        """The node name."""
        return self._name

    def __repr__(self) -> str:
        return f"<node {self._name!r}>"

    async def delete(self) -> None:
        """Remove the node and what it opened for itself (``blockdev-del``).

        Of one that :meth:`AsyncBlockLayer.add_chain` returned, also the nodes below that it added,
        once nothing uses them any more. Raises CommandError when it is in use or not there,
        StateError the second time for such a chain.
        """
        chains = Chains.of(self._qmp)
        if self._chain is not None:
            await shielded(chains.remove(self, self._chain))
            return
        await self._execute(BlockdevDel(node_name=self._name))
        await shielded(chains.forget(self, self._name))

    # -- questions -----------------------------------------------------------------------------

    async def query_info(self) -> BlockDeviceInfo:
        """Return what QEMU knows of the node (``query-named-block-nodes``).

        Raises GraphError when there is no such node, as all that ask for it do.
        """
        nodes = await self._execute(QueryNamedBlockNodes(flat=True))
        for info in nodes:
            if info.node_name == self._name:
                return info
        raise GraphError(
            f"node {self._name!r}", found=listed(info.node_name or "" for info in nodes)
        )

    async def query_stats(self) -> BlockStats:
        """Return statistics of the node (``query-blockstats``).

        Of a node, QEMU counts little more than ``wr_highest_offset``, in bytes; requests are
        counted for the guest's devices, see :meth:`AsyncDevice.query_stats`.
        """
        nodes = await self._execute(QueryBlockstats(query_nodes=True))
        for stats in nodes:
            if stats.node_name == self._name:
                return stats
        raise GraphError(
            f"node {self._name!r}", found=listed(stats.node_name or "" for stats in nodes)
        )

    async def query_children(self) -> list[Edge]:
        """Return the edges to the nodes that this one uses (``x-debug-query-block-graph``)."""
        return list((await self._query_place()).children)

    async def query_parents(self) -> list[Edge]:
        """Return the edges from what uses the node: nodes, devices, exports, jobs."""
        return list((await self._query_place()).parents)

    async def query_child(self, name: str) -> AsyncNode:
        """Return the node that this one uses under a name (``file``, ``backing``, ...)."""
        return self._other((await self._query_place()).child(name).name)

    async def _query_place(self) -> GraphNode:
        found = (await query_graph(self))[self._name]
        if found.kind != "node":
            raise GraphError(f"node {self._name!r}", found=str(found))
        return found

    def _other(self, name: str) -> AsyncNode:
        return type(self)(self._qmp, name)

    # -- events --------------------------------------------------------------------------------

    def events(self) -> AsyncEventStream[NodeEvent]:
        """Subscribe to what QEMU tells of the node from now on.

        BLOCK_IO_ERROR (of a guest's device on it), BLOCK_IMAGE_CORRUPTED,
        BLOCK_WRITE_THRESHOLD, and of a quorum QUORUM_FAILURE; QUORUM_REPORT_BAD is told of
        its child.
        """
        return (
            self._qmp.events(BlockIoError.where(node_name=self._name))
            .also(BlockImageCorrupted.where(node_name=self._name))
            .also(BlockWriteThreshold.where(node_name=self._name))
            .also(QuorumReportBad.where(node_name=self._name))
            .also(QuorumFailure.where(reference=self._name))
        )

    async def set_write_threshold(
        self, threshold: int | str
    ) -> AsyncEventStream[BlockWriteThreshold]:
        """Have QEMU tell when a write ends beyond an offset (``block-set-write-threshold``).

        Returns the stream in which that is told, once: the threshold, in bytes or as in
        ``"64M"``, is off then, as it is with 0. Useful on the file below an image that grows.
        """
        command = BlockSetWriteThreshold(node_name=self._name, write_threshold=to_bytes(threshold))
        events = self._qmp.events(BlockWriteThreshold.where(node_name=self._name))
        try:
            await self._execute(command)
        except BaseException:
            events.close()
            raise
        return events

    # -- changes -------------------------------------------------------------------------------

    async def add_child(self, child: AsyncNode) -> None:
        """Add a child to a quorum (``x-blockdev-change``).

        Raises CommandError for a node that takes none, or a child that is used already.
        """
        await self._execute(XBlockdevChange(parent=self._name, node=child.name))

    async def remove_child(self, name: str) -> None:
        """Take the child of that name (``children.1``) from a quorum (``x-blockdev-change``).

        Raises CommandError when there is none, or the quorum would be below its threshold.
        """
        await self._execute(XBlockdevChange(parent=self._name, child=name))

    async def reopen(self, options: BlockdevOptions) -> None:
        """Open the node with other options (``blockdev-reopen``).

        They replace all that it had, so tell them whole. A child that was defined inside them
        is told inside again, any other by its node name. Raises UsageError for the options of
        another node, CommandError for what cannot be changed; nothing has changed then.
        """
        if sound_name(options) != self._name:
            wrong = options.node_name
            raise UsageError(f"{subject(self)} cannot be opened with the options of {wrong!r}")
        await self._execute(BlockdevReopen(options=[options]))

    async def resize(self, size: int | str) -> None:
        """Make the node ``size`` bytes long (``block_resize``); text is as in ``"64M"``.

        What lies beyond a smaller size is lost. Raises CommandError when the node is read-only
        or its driver cannot.
        """
        await self._execute(BlockResize(node_name=self._name, size=to_bytes(size)))

    async def set_active(self, active: bool) -> None:
        """Let go of an inactive node's image, or take it back (``blockdev-set-active``).

        For a migration over shared storage. From QEMU 10.0, else Unsupported.
        """
        await self._execute(BlockdevSetActive(node_name=self._name, active=active))

    async def change_backing_file(
        self, backing_file: str | os.PathLike[str], *, root: AsyncNode | None = None
    ) -> None:
        """Write another name of the backing file into the image (``change-backing-file``).

        A str is a name in QEMU's syntax (``json:``, a URI), a path object is taken as it is. What
        is open stays as it is. ``root`` is the node at the top of the chain, where that is
        not this one.
        """
        command = ChangeBackingFile(
            device=(root or self).name,
            image_node_name=self._name,
            backing_file=qemu_name(backing_file),
        )
        await self._execute(command)

    async def set_iothread(self, iothread: AsyncIoThread | None, *, force: bool = False) -> None:
        """Move the node into an I/O thread, or back (None), with ``x-blockdev-set-iothread``.

        Move it back before the thread is removed: QEMU does not refuse that, and 7.2 crashes
        then. Move it back before a backup, unless a device uses it: QEMU 10.0 and 11.1 crash
        otherwise. Raises CommandError when it is in use; ``force`` moves it under an export, but
        not under a device, whose own thread counts.
        """
        name = NULL if iothread is None else iothread.id
        command = XBlockdevSetIothread(node_name=self._name, iothread=name, force=force)
        await self._execute(command)

    # -- snapshots -----------------------------------------------------------------------------

    async def snapshot(self, overlay: AsyncNode) -> None:
        """Put an overlay, which has no backing node yet, on the node (``blockdev-snapshot``).

        The node's users are on the overlay then. Raises CommandError when it has one already.
        """
        await self._execute(BlockdevSnapshot(node=self._name, overlay=overlay.name))

    async def snapshot_sync(
        self,
        snapshot_file: str | os.PathLike[str],
        *,
        snapshot_node_name: str | None = None,
        format: str = "qcow2",
        mode: NewImageMode | None = None,
        replace: bool = False,
    ) -> AsyncNode:
        """Put an overlay in a file that QEMU makes on the node (``blockdev-snapshot-sync``).

        ``snapshot_file`` is a str in QEMU's syntax (a URI), or a path object, which is taken as
        it is. A file that is there is used with ``mode="existing"``; to overwrite it, in place,
        takes ``replace``. Returns the overlay, which goes with its last user. Raises UsageError
        for a file that is there, GraphError when the node has no user.
        """
        if mode != "existing":
            assert_absent(snapshot_file, replace=replace)
        # QEMU 7.2 and 10.0: the overlay belongs to the users of the node; without one it is
        # gone as soon as it is made, so we refuse that.
        if not await self.query_parents():
            raise GraphError(f"a user of node {self._name!r}", found="none")
        name = snapshot_node_name or lasting_name(self._qmp, "overlay")
        command = BlockdevSnapshotSync(
            node_name=self._name,
            snapshot_file=qemu_name(snapshot_file),
            snapshot_node_name=name,
            format=format,
            mode=mode,
        )
        await self._execute(command)
        return self._other(name)

    async def snapshot_internal(self, name: str) -> None:
        """Make a snapshot inside the image (``blockdev-snapshot-internal-sync``).

        :meth:`query_info` lists them. Raises CommandError for a name that is taken, a node that
        has other nodes over it, and a format without snapshots.
        """
        await self._execute(BlockdevSnapshotInternalSync(device=self._name, name=name))

    async def delete_internal_snapshot(
        self, name: str | None = None, *, id: str | None = None
    ) -> SnapshotInfo:
        """Delete a snapshot inside the image (``blockdev-snapshot-delete-internal-sync``).

        By its name, its id, or both; returns what it was. Raises CommandError when there is
        none such.
        """
        command = BlockdevSnapshotDeleteInternalSync(device=self._name, name=name, id=id)
        return await self._execute(command)

    # -- jobs ----------------------------------------------------------------------------------

    async def backup(
        self,
        target: AsyncNode,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: AsyncBitmap | None = None,
        bitmap_mode: BitmapSyncMode | None = None,
        compress: bool | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        discard_source: bool | None = None,
        x_perf: BackupPerf | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
        **job: Unpack[JobOptions],
    ) -> JobResult:
        """Copy the node as it is now to ``target`` (``blockdev-backup``).

        With a ``bitmap`` (``sync="incremental"``, or ``"bitmap"`` with a ``bitmap_mode``),
        only what it marks. The target has to be as large as the node. ``discard_source``, from
        QEMU 9.1, is for a node that keeps old data for somebody else.
        """
        start = self.start_backup(
            target,
            sync=sync,
            bitmap=bitmap,
            bitmap_mode=bitmap_mode,
            compress=compress,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            discard_source=discard_source,
            x_perf=x_perf,
            **job,
        )
        return await run_job(
            start,
            self._connection(),
            what=f"the backup of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_backup(
        self,
        target: AsyncNode,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: AsyncBitmap | None = None,
        bitmap_mode: BitmapSyncMode | None = None,
        compress: bool | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        discard_source: bool | None = None,
        x_perf: BackupPerf | None = None,
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start :meth:`backup`; return it in flight."""
        on_wire = _on_wire(self._qmp, **job)
        command = wire.BlockdevBackup(
            device=self._name,
            target=target.name,
            sync=sync,
            bitmap=None if bitmap is None else bitmap.name,
            bitmap_mode=bitmap_mode,
            compress=compress,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            discard_source=discard_source,
            x_perf=x_perf,
            **on_wire,
        )
        return await self._start("backup", command, job, on_wire)

    async def mirror(
        self,
        target: AsyncNode,
        *,
        sync: MirrorSyncMode = "full",
        replaces: AsyncNode | None = None,
        granularity: int | None = None,
        buf_size: int | None = None,
        copy_mode: MirrorCopyMode | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
        **job: Unpack[JobOptions],
    ) -> JobResult:
        """Copy the node, and all that is written to it, to ``target``.

        When the job is ready the two are the same; completed, it puts the target in the place
        of the node, or of the one that it ``replaces`` (``blockdev-mirror``). ``granularity``
        and ``buf_size`` are in bytes. Whoever writes has to be on the node before: QEMU 10.0
        does not see what comes past the job's filter.
        """
        start = self.start_mirror(
            target,
            sync=sync,
            replaces=replaces,
            granularity=granularity,
            buf_size=buf_size,
            copy_mode=copy_mode,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            **job,
        )
        return await run_job(
            start,
            self._connection(),
            what=f"the mirror of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_mirror(
        self,
        target: AsyncNode,
        *,
        sync: MirrorSyncMode = "full",
        replaces: AsyncNode | None = None,
        granularity: int | None = None,
        buf_size: int | None = None,
        copy_mode: MirrorCopyMode | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start :meth:`mirror`; return it in flight."""
        on_wire = _on_wire(self._qmp, **job)
        command = wire.BlockdevMirror(
            device=self._name,
            target=target.name,
            sync=sync,
            replaces=None if replaces is None else replaces.name,
            granularity=granularity,
            buf_size=buf_size,
            copy_mode=copy_mode,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            **on_wire,
        )
        return await self._start("mirror", command, job, on_wire)

    async def commit(
        self,
        *,
        top: AsyncNode | None = None,
        base: AsyncNode | None = None,
        backing_file: str | os.PathLike[str] | None = None,
        backing_mask_protocol: bool | None = None,
        on_error: BlockdevOnError | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
        **job: Unpack[JobOptions],
    ) -> JobResult:
        """Write what the layers from ``top`` down hold into ``base`` (``block-commit``).

        By default from this node, the active layer, to the lowest. Of the active layer the job
        becomes ready, and completed puts the base in the node's place. Of others the base goes
        in the place of ``top``, under the layer above, into which ``backing_file`` is written
        as its name: a str in QEMU's syntax (``json:``, a URI), a path object as it is.
        """
        start = self.start_commit(
            top=top,
            base=base,
            backing_file=backing_file,
            backing_mask_protocol=backing_mask_protocol,
            on_error=on_error,
            **job,
        )
        return await run_job(
            start,
            self._connection(),
            what=f"the commit of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_commit(
        self,
        *,
        top: AsyncNode | None = None,
        base: AsyncNode | None = None,
        backing_file: str | os.PathLike[str] | None = None,
        backing_mask_protocol: bool | None = None,
        on_error: BlockdevOnError | None = None,
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start :meth:`commit`; return it in flight."""
        on_wire = _on_wire(self._qmp, **job)
        command = wire.BlockCommit(
            device=self._name,
            top_node=None if top is None else top.name,
            base_node=None if base is None else base.name,
            backing_file=None if backing_file is None else qemu_name(backing_file),
            backing_mask_protocol=backing_mask_protocol,
            on_error=on_error,
            **on_wire,
        )
        return await self._start("commit", command, job, on_wire)

    async def stream(
        self,
        *,
        base: AsyncNode | None = None,
        bottom: AsyncNode | None = None,
        backing_file: str | os.PathLike[str] | None = None,
        backing_mask_protocol: bool | None = None,
        on_error: BlockdevOnError | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
        **job: Unpack[JobOptions],
    ) -> JobResult:
        """Copy what the layers below hold into the node (``block-stream``).

        Of those above ``base``, which becomes its backing file, or down to ``bottom``, or by
        default of all. ``backing_file`` is written into the image as the name of the base: a str in
        QEMU's syntax (``json:``, a URI), a path object as it is.
        """
        start = self.start_stream(
            base=base,
            bottom=bottom,
            backing_file=backing_file,
            backing_mask_protocol=backing_mask_protocol,
            on_error=on_error,
            **job,
        )
        return await run_job(
            start,
            self._connection(),
            what=f"the stream of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_stream(
        self,
        *,
        base: AsyncNode | None = None,
        bottom: AsyncNode | None = None,
        backing_file: str | os.PathLike[str] | None = None,
        backing_mask_protocol: bool | None = None,
        on_error: BlockdevOnError | None = None,
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start :meth:`stream`; return it in flight."""
        on_wire = _on_wire(self._qmp, **job)
        # QEMU 7.2 and 10.0: while a stream takes effect by itself, and from then until it is
        # dismissed, they die of a question about the graph. When the monitor finalizes it and it
        # goes at once, no question comes in between.
        on_wire["auto_finalize"] = False
        on_wire["auto_dismiss"] = job.get("auto_dismiss", True)
        command = wire.BlockStream(
            device=self._name,
            base_node=None if base is None else base.name,
            bottom=None if bottom is None else bottom.name,
            backing_file=None if backing_file is None else qemu_name(backing_file),
            backing_mask_protocol=backing_mask_protocol,
            on_error=on_error,
            **on_wire,
        )
        return await self._start("stream", command, job, on_wire)

    async def amend(
        self,
        options: BlockdevAmendOptions,
        *,
        force: bool = False,
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Change the format's options of an image (``x-blockdev-amend``).

        The key slots of LUKS, alone or inside qcow2; ``force`` allows to erase the last. A job
        that fills one may fail in QEMU 7.2 by chance, when it times the key.
        """
        start = self.start_amend(options, force=force, job_id=job_id)
        return await run_job(
            start,
            self._connection(),
            what=f"the amend of {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_amend(
        self,
        options: BlockdevAmendOptions,
        *,
        force: bool = False,
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start :meth:`amend`; return it in flight."""
        # QEMU 10.0: dies of the job when the driver is luks, so we refuse it.
        if options.driver == "luks" and self._qmp.version[:2] == (10, 0):
            error = Unsupported("amendment of a luks node that it survives")
            error.subject = subject(self)
            raise error
        job_id = job_id or temporary_name(self._qmp)
        command = wire.XBlockdevAmend(
            job_id=job_id, node_name=self._name, options=options, force=force
        )
        return await AsyncJob._start(self, command, job_id=job_id, kind="amend")

    async def _start(
        self, kind: JobType, command: Command[None], job: JobOptions, on_wire: _OnWire
    ) -> AsyncJob:
        return await AsyncJob._start(
            self,
            command,
            job_id=on_wire["job_id"],
            kind=kind,
            auto_finalize=job.get("auto_finalize", True),
            auto_dismiss=job.get("auto_dismiss", True),
        )

    # -- bitmaps -------------------------------------------------------------------------------

    def bitmap(self, name: str) -> AsyncBitmap:
        """Return the object of a bitmap that the node has or will have; QEMU is not asked."""
        return AsyncBitmap(self._qmp, self, name)

    async def add_bitmap(
        self,
        name: str,
        *,
        granularity: int | None = None,
        persistent: bool = False,
        disabled: bool = False,
    ) -> AsyncBitmap:
        """Create a dirty bitmap on the node; see :meth:`AsyncBitmap.add`."""
        bitmap = self.bitmap(name)
        await bitmap.add(granularity=granularity, persistent=persistent, disabled=disabled)
        return bitmap

    # -- I/O -----------------------------------------------------------------------------------

    @property
    def io(self) -> AsyncNodeIo:
        """Requests to the node through QEMU's monitor."""
        from .node_io import AsyncNodeIo

        return AsyncNodeIo(self)

    async def qemu_io(self, command: str, *, timeout: float | None = None) -> str:
        """Have QEMU carry out any command of qemu-io on the node; return what it printed.

        Raises ToolError when that says that it failed, else as :attr:`io`.
        """
        return await self.io._raw(command, timeout)


def _on_wire(
    qmp: AsyncQmp,
    *,
    job_id: str | None = None,
    speed: int | None = None,
    auto_finalize: bool = True,
    auto_dismiss: bool = True,
    filter_node_name: str | None = None,
) -> _OnWire:
    del auto_dismiss  # the job object dismisses it, when it knows how it ended
    return {
        "job_id": job_id or temporary_name(qmp),
        "speed": speed,
        "auto_finalize": auto_finalize,
        "auto_dismiss": False,
        "filter_node_name": filter_node_name,
    }
