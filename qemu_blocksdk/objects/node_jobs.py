"""The jobs of a block node: how they are started. What becomes of them is in ``job``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict, Unpack

from qemu_blocksdk import wire  # whose domains load when they are used, thus not at import
from qemu_blocksdk.codec import Command
from qemu_blocksdk.codec.filename import qemu_name
from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.qmp import AsyncQmp

from .bitmap import AsyncBitmap
from .job import AsyncJob
from .live import subject
from .names import temporary_name
from .node_graph import NodeGraph

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

    from .node import AsyncNode


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


class NodeJobs(NodeGraph):
    """The verbs that start a job on a node.

    They raise CommandError when QEMU refuses to start it; what goes wrong later is the job's
    to tell.
    """

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
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start to copy the node as it is now to ``target`` (``blockdev-backup``).

        With a ``bitmap`` (``sync="incremental"``, or ``"bitmap"`` with a ``bitmap_mode``),
        only what it marks. The target has to be as large as the node. ``discard_source``, from
        QEMU 9.1, is for a node that keeps old data for somebody else.
        """
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
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start to copy the node, and all that is written to it, to ``target``.

        When the job is ready the two are the same; completed, it puts the target in the place
        of the node, or of the one that it ``replaces`` (``blockdev-mirror``). ``granularity``
        and ``buf_size`` are in bytes. Whoever writes has to be on the node before: QEMU 10.0
        does not see what comes past the job's filter.
        """
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
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start to write what the layers from ``top`` down hold into ``base`` (``block-commit``).

        By default from this node, the active layer, to the lowest. Of the active layer the job
        becomes ready, and completed puts the base in the node's place. Of others the base goes
        in the place of ``top``, under the layer above, into which ``backing_file`` is written
        as its name: a str in QEMU's syntax (``json:``, a URI), a path object as it is.
        """
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
        **job: Unpack[JobOptions],
    ) -> AsyncJob:
        """Start to copy what the layers below hold into the node (``block-stream``).

        Of those above ``base``, which becomes its backing file, or down to ``bottom``, or by
        default of all. ``backing_file`` is written into the image as the name of the base: a str in
        QEMU's syntax (``json:``, a URI), a path object as it is.
        """
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
    ) -> AsyncJob:
        """Start to change the format's options of an image (``x-blockdev-amend``).

        The key slots of LUKS, alone or inside qcow2; ``force`` allows to erase the last. A job
        that fills one may fail in QEMU 7.2 by chance, when it times the key.
        """
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
