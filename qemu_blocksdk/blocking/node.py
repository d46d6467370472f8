# Generated from objects/node.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.node.AsyncNode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Unpack

    from qemu_blocksdk.graph import Edge
    from qemu_blocksdk.jobs import JobProgress, JobResult
    from qemu_blocksdk.objects.node import AsyncNode, JobOptions, NodeEvent
    from qemu_blocksdk.wire import (
        BackupPerf,
        BitmapSyncMode,
        BlockdevAmendOptions,
        BlockDeviceInfo,
        BlockdevOnError,
        BlockdevOptions,
        BlockStats,
        BlockWriteThreshold,
        MirrorCopyMode,
        MirrorSyncMode,
        NewImageMode,
        SnapshotInfo,
    )

    from .bitmap import Bitmap
    from .event_stream import EventStream
    from .io_thread import IoThread
    from .job import Job
    from .node_io import NodeIo


class Node(SyncProxy):
    """A node of the block graph, by its name.

    Verbs that start a job raise CommandError when QEMU refuses to start it; what goes wrong later
    is the job's to report.
    """

    @property
    def _async(self) -> AsyncNode:
        return cast("AsyncNode", self._reach())

    @property
    def name(self) -> str:
        """The node name."""
        return self._async.name

    def delete(self) -> None:
        """Remove the node and what it opened for itself (``blockdev-del``).

        Of one that :meth:`BlockLayer.add_chain` returned, also the nodes below that it added,
        once nothing uses them any more. Raises CommandError when it is in use or not there,
        StateError the second time for such a chain.
        """
        return background_loop.run(self._async.delete())

    def query_info(self) -> BlockDeviceInfo:
        """Return what QEMU knows of the node (``query-named-block-nodes``).

        Raises GraphError when there is no such node, as all that ask for it do.
        """
        return background_loop.run(self._async.query_info())

    def query_stats(self) -> BlockStats:
        """Return statistics of the node (``query-blockstats``).

        Of a node, QEMU counts little more than ``wr_highest_offset``, in bytes; requests are
        counted for the guest's devices, see :meth:`Device.query_stats`.
        """
        return background_loop.run(self._async.query_stats())

    def query_children(self) -> list[Edge]:
        """Return the edges to the nodes that this one uses (``x-debug-query-block-graph``)."""
        return background_loop.run(self._async.query_children())

    def query_parents(self) -> list[Edge]:
        """Return the edges from what uses the node: nodes, devices, exports, jobs."""
        return background_loop.run(self._async.query_parents())

    def query_child(self, name: str) -> Node:
        """Return the node that this one uses under a name (``file``, ``backing``, ...)."""
        return Node._of(background_loop.run(self._async.query_child(name)))

    def events(self) -> EventStream[NodeEvent]:
        """Subscribe to what QEMU tells of the node from now on.

        BLOCK_IO_ERROR (of a guest's device on it), BLOCK_IMAGE_CORRUPTED,
        BLOCK_WRITE_THRESHOLD, and of a quorum QUORUM_FAILURE; QUORUM_REPORT_BAD is told of
        its child.
        """
        background_loop.assert_running()
        from . import EventStream

        return cast("EventStream[NodeEvent]", EventStream._of(background_loop.call(
            lambda: self._async.events()
        )))

    def set_write_threshold(self, threshold: int | str) -> EventStream[BlockWriteThreshold]:
        """Have QEMU tell when a write ends beyond an offset (``block-set-write-threshold``).

        Returns the stream in which that is told, once: the threshold, in bytes or as in
        ``"64M"``, is off then, as it is with 0. Useful on the file below an image that grows.
        """
        background_loop.assert_running()
        from . import EventStream

        work = self._async.set_write_threshold(threshold)
        return cast("EventStream[BlockWriteThreshold]", EventStream._of(background_loop.run(work)))

    def add_child(self, child: Node) -> None:
        """Add a child to a quorum (``x-blockdev-change``).

        Raises CommandError for a node that takes none, or a child that is used already.
        """
        return background_loop.run(self._async.add_child(child._async))

    def remove_child(self, name: str) -> None:
        """Take the child of that name (``children.1``) from a quorum (``x-blockdev-change``).

        Raises CommandError when there is none, or the quorum would be below its threshold.
        """
        return background_loop.run(self._async.remove_child(name))

    def reopen(self, options: BlockdevOptions) -> None:
        """Open the node with other options (``blockdev-reopen``).

        They replace all that it had, so tell them whole. A child that was defined inside them
        is told inside again, any other by its node name. Raises UsageError for the options of
        another node, CommandError for what cannot be changed; nothing has changed then.
        """
        return background_loop.run(self._async.reopen(options))

    def resize(self, size: int | str) -> None:
        """Make the node ``size`` bytes long (``block_resize``); text is as in ``"64M"``.

        What lies beyond a smaller size is lost. Raises CommandError when the node is read-only
        or its driver cannot.
        """
        return background_loop.run(self._async.resize(size))

    def set_active(self, active: bool) -> None:
        """Let go of an inactive node's image, or take it back (``blockdev-set-active``).

        For a migration over shared storage. From QEMU 10.0, else Unsupported.
        """
        return background_loop.run(self._async.set_active(active))

    def change_backing_file(
        self,
        backing_file: str | os.PathLike[str],
        *,
        root: Node | None = None,
    ) -> None:
        """Write another name of the backing file into the image (``change-backing-file``).

        A str is a name in QEMU's syntax (``json:``, a URI), a path object is taken as it is. What
        is open stays as it is. ``root`` is the node at the top of the chain, where that is
        not this one.
        """
        work = self._async.change_backing_file(
            backing_file,
            root=None if root is None else root._async,
        )
        return background_loop.run(work)

    def set_iothread(self, iothread: IoThread | None, *, force: bool = False) -> None:
        """Move the node into an I/O thread, or back (None), with ``x-blockdev-set-iothread``.

        Move it back before the thread is removed: QEMU does not refuse that, and 7.2 crashes
        then. Move it back before a backup, unless a device uses it: QEMU 10.0 and 11.1 crash
        otherwise. Raises CommandError when it is in use; ``force`` moves it under an export, but
        not under a device, whose own thread counts.
        """
        work = self._async.set_iothread(None if iothread is None else iothread._async, force=force)
        return background_loop.run(work)

    def snapshot(self, overlay: Node) -> None:
        """Put an overlay, which has no backing node yet, on the node (``blockdev-snapshot``).

        The node's users are on the overlay then. Raises CommandError when it has one already.
        """
        return background_loop.run(self._async.snapshot(overlay._async))

    def snapshot_sync(
        self,
        snapshot_file: str | os.PathLike[str],
        *,
        snapshot_node_name: str | None = None,
        format: str = "qcow2",
        mode: NewImageMode | None = None,
        replace: bool = False,
    ) -> Node:
        """Put an overlay in a file that QEMU makes on the node (``blockdev-snapshot-sync``).

        ``snapshot_file`` is a str in QEMU's syntax (a URI), or a path object, which is taken as
        it is. A file that is there is used with ``mode="existing"``; to overwrite it, in place,
        takes ``replace``. Returns the overlay, which goes with its last user. Raises UsageError
        for a file that is there, GraphError when the node has no user.
        """
        work = self._async.snapshot_sync(
            snapshot_file,
            snapshot_node_name=snapshot_node_name,
            format=format,
            mode=mode,
            replace=replace,
        )
        return Node._of(background_loop.run(work))

    def snapshot_internal(self, name: str) -> None:
        """Make a snapshot inside the image (``blockdev-snapshot-internal-sync``).

        :meth:`query_info` lists them. Raises CommandError for a name that is taken, a node that
        has other nodes over it, and a format without snapshots.
        """
        return background_loop.run(self._async.snapshot_internal(name))

    def delete_internal_snapshot(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
    ) -> SnapshotInfo:
        """Delete a snapshot inside the image (``blockdev-snapshot-delete-internal-sync``).

        By its name, its id, or both; returns what it was. Raises CommandError when there is
        none such.
        """
        return background_loop.run(self._async.delete_internal_snapshot(name, id=id))

    def backup(
        self,
        target: Node,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: Bitmap | None = None,
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
        return background_loop.run_with_progress(
            lambda report: self._async.backup(
                target._async,
                sync=sync,
                bitmap=None if bitmap is None else bitmap._async,
                bitmap_mode=bitmap_mode,
                compress=compress,
                on_source_error=on_source_error,
                on_target_error=on_target_error,
                discard_source=discard_source,
                x_perf=x_perf,
                on_progress=report,
                timeout=timeout,
                **job,
            ),
            on_progress,
        )

    def start_backup(
        self,
        target: Node,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: Bitmap | None = None,
        bitmap_mode: BitmapSyncMode | None = None,
        compress: bool | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        discard_source: bool | None = None,
        x_perf: BackupPerf | None = None,
        **job: Unpack[JobOptions],
    ) -> Job:
        """Start :meth:`backup`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_backup(
            target._async,
            sync=sync,
            bitmap=None if bitmap is None else bitmap._async,
            bitmap_mode=bitmap_mode,
            compress=compress,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            discard_source=discard_source,
            x_perf=x_perf,
            **job,
        )
        return Job._of(background_loop.run(work))

    def mirror(
        self,
        target: Node,
        *,
        sync: MirrorSyncMode = "full",
        replaces: Node | None = None,
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
        return background_loop.run_with_progress(
            lambda report: self._async.mirror(
                target._async,
                sync=sync,
                replaces=None if replaces is None else replaces._async,
                granularity=granularity,
                buf_size=buf_size,
                copy_mode=copy_mode,
                on_source_error=on_source_error,
                on_target_error=on_target_error,
                on_progress=report,
                timeout=timeout,
                **job,
            ),
            on_progress,
        )

    def start_mirror(
        self,
        target: Node,
        *,
        sync: MirrorSyncMode = "full",
        replaces: Node | None = None,
        granularity: int | None = None,
        buf_size: int | None = None,
        copy_mode: MirrorCopyMode | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        **job: Unpack[JobOptions],
    ) -> Job:
        """Start :meth:`mirror`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_mirror(
            target._async,
            sync=sync,
            replaces=None if replaces is None else replaces._async,
            granularity=granularity,
            buf_size=buf_size,
            copy_mode=copy_mode,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            **job,
        )
        return Job._of(background_loop.run(work))

    def commit(
        self,
        *,
        top: Node | None = None,
        base: Node | None = None,
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
        return background_loop.run_with_progress(
            lambda report: self._async.commit(
                top=None if top is None else top._async,
                base=None if base is None else base._async,
                backing_file=backing_file,
                backing_mask_protocol=backing_mask_protocol,
                on_error=on_error,
                on_progress=report,
                timeout=timeout,
                **job,
            ),
            on_progress,
        )

    def start_commit(
        self,
        *,
        top: Node | None = None,
        base: Node | None = None,
        backing_file: str | os.PathLike[str] | None = None,
        backing_mask_protocol: bool | None = None,
        on_error: BlockdevOnError | None = None,
        **job: Unpack[JobOptions],
    ) -> Job:
        """Start :meth:`commit`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_commit(
            top=None if top is None else top._async,
            base=None if base is None else base._async,
            backing_file=backing_file,
            backing_mask_protocol=backing_mask_protocol,
            on_error=on_error,
            **job,
        )
        return Job._of(background_loop.run(work))

    def stream(
        self,
        *,
        base: Node | None = None,
        bottom: Node | None = None,
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
        return background_loop.run_with_progress(
            lambda report: self._async.stream(
                base=None if base is None else base._async,
                bottom=None if bottom is None else bottom._async,
                backing_file=backing_file,
                backing_mask_protocol=backing_mask_protocol,
                on_error=on_error,
                on_progress=report,
                timeout=timeout,
                **job,
            ),
            on_progress,
        )

    def start_stream(
        self,
        *,
        base: Node | None = None,
        bottom: Node | None = None,
        backing_file: str | os.PathLike[str] | None = None,
        backing_mask_protocol: bool | None = None,
        on_error: BlockdevOnError | None = None,
        **job: Unpack[JobOptions],
    ) -> Job:
        """Start :meth:`stream`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_stream(
            base=None if base is None else base._async,
            bottom=None if bottom is None else bottom._async,
            backing_file=backing_file,
            backing_mask_protocol=backing_mask_protocol,
            on_error=on_error,
            **job,
        )
        return Job._of(background_loop.run(work))

    def amend(
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
        return background_loop.run_with_progress(
            lambda report: self._async.amend(
                options,
                force=force,
                job_id=job_id,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_amend(
        self,
        options: BlockdevAmendOptions,
        *,
        force: bool = False,
        job_id: str | None = None,
    ) -> Job:
        """Start :meth:`amend`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_amend(options, force=force, job_id=job_id)
        return Job._of(background_loop.run(work))

    def bitmap(self, name: str) -> Bitmap:
        """Return the object of a bitmap that the node has or will have; QEMU is not asked."""
        background_loop.assert_running()
        from . import Bitmap

        return Bitmap._of(background_loop.call(lambda: self._async.bitmap(name)))

    def add_bitmap(
        self,
        name: str,
        *,
        granularity: int | None = None,
        persistent: bool = False,
        disabled: bool = False,
    ) -> Bitmap:
        """Create a dirty bitmap on the node; see :meth:`Bitmap.add`."""
        background_loop.assert_running()
        from . import Bitmap

        work = self._async.add_bitmap(
            name,
            granularity=granularity,
            persistent=persistent,
            disabled=disabled,
        )
        return Bitmap._of(background_loop.run(work))

    @property
    def io(self) -> NodeIo:
        """Requests to the node through QEMU's monitor."""
        background_loop.assert_running()
        from . import NodeIo

        return NodeIo._of(self._async.io)

    def qemu_io(self, command: str, *, timeout: float | None = None) -> str:
        """Have QEMU carry out any command of qemu-io on the node; return what it printed.

        Raises ToolError when that says that it failed, else as :attr:`io`.
        """
        return background_loop.run(self._async.qemu_io(command, timeout=timeout))
