# Generated from objects/block_layer.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.block_layer.AsyncBlockLayer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.block_layer import AsyncBlockLayer
from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from qemu.qmp import QMPClient

    from qemu_blocksdk.codec import Secret
    from qemu_blocksdk.graph import BlockGraph
    from qemu_blocksdk.jobs import JobProgress, JobResult
    from qemu_blocksdk.objects.export import ExportOptions
    from qemu_blocksdk.objects.export_server import ExportServerOptions
    from qemu_blocksdk.objects.iothread import IoThreadParameters
    from qemu_blocksdk.objects.leftovers import Leftover
    from qemu_blocksdk.qmp import Address, OnMessage
    from qemu_blocksdk.tools.nbd import NbdAddress
    from qemu_blocksdk.wire import (
        ActionCompletionMode,
        BlockdevCreateOptions,
        BlockdevOptions,
        BlockDirtyInfo,
        FuseExportAllowOther,
        ObjectOptions,
        ThrottleLimits,
    )

    from .export import Export
    from .export_server import ExportServer
    from .file_export import FileExport
    from .io_thread import IoThread
    from .job import Job
    from .node import Node
    from .qmp import Qmp
    from .throttle_group import ThrottleGroup
    from .transaction import Transaction


class BlockLayer(SyncProxy):
    """The block layer of a running QEMU: nodes, jobs, exports, transactions, objects.

    :meth:`attach` connects to a QEMU; ``BlockLayer(qmp)`` uses a connection that is open. The
    QEMU is not ours: leaving the block only disconnects, and closes only what :meth:`attach`
    opened.
    """

    @property
    def _async(self) -> AsyncBlockLayer:
        return cast("AsyncBlockLayer", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    def __init__(self, qmp: Qmp) -> None:
        """Use an open connection, which stays the caller's to close."""
        self._hold(background_loop.call(lambda: AsyncBlockLayer(qmp._async)))

    @classmethod
    def attach(
        cls,
        address: Address | QMPClient,
        *,
        timeout: float = 10.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Connect to a running QEMU by one of its QMP monitors, within ``timeout`` seconds.

        Leaving the block only disconnects. The async classes also take a connected
        ``qemu.qmp.QMPClient``: it stays connected, and its owner can go on using it. Raises
        ConnectionLost when nothing listens at the address; DeadlineExceeded when nothing answers,
        for example because another client holds the monitor; UsageError for a client that is not
        connected or that belongs to another event loop.
        """
        work = AsyncBlockLayer.attach(
            address,
            timeout=timeout,
            command_timeout=command_timeout,
            on_message=on_message,
        )
        return cls._of(background_loop.run(work))

    @property
    def qmp(self) -> Qmp:
        """The QMP connection."""
        background_loop.assert_running()
        from . import Qmp

        return Qmp._of(self._async.qmp)

    def add_node(self, options: BlockdevOptions) -> Node:
        """Add a block node (``blockdev-add``), with the children that are defined inside it.

        The options need a ``node_name``. Raises UsageError without one and for what QEMU takes
        in no case (:func:`qemu_blocksdk.blockdev.check`), CommandError when it refuses (no such
        file, locked, not that format).
        """
        background_loop.assert_running()
        from . import Node

        return Node._of(background_loop.run(self._async.add_node(options)))

    def node(self, name: str) -> Node:
        """Return the object of a node that QEMU has; QEMU is not asked."""
        background_loop.assert_running()
        from . import Node

        return Node._of(background_loop.call(lambda: self._async.node(name)))

    def add_chain(self, options: BlockdevOptions) -> Node:
        """Add a node, and its children that have a ``node_name`` as nodes of their own, first.

        A child that an earlier chain added under that name is used again; those without a name
        are inside their parent. Deleting the node that is returned removes them all, except
        what another chain or node uses: that goes with its last user. Raises UsageError for a
        name that stands for something else, CommandError when QEMU refuses a node: the others
        are removed again then.
        """
        background_loop.assert_running()
        from . import Node

        return Node._of(background_loop.run(self._async.add_chain(options)))

    def reopen(self, options: Sequence[BlockdevOptions]) -> None:
        """Open nodes with other options, all or none; see :meth:`Node.reopen`."""
        return background_loop.run(self._async.reopen(options))

    def graph(self) -> BlockGraph:
        """Return the current block graph (``x-debug-query-block-graph``).

        One more command each adds details of its nodes, devices, jobs and exports.
        """
        return background_loop.run(self._async.graph())

    def query_bitmaps(self) -> dict[str, Sequence[BlockDirtyInfo]]:
        """Return the dirty bitmaps of each node that has some, by its name."""
        return background_loop.run(self._async.query_bitmaps())

    def transaction(self, *, completion_mode: ActionCompletionMode | None = None) -> Transaction:
        """Return an empty transaction; with ``grouped``, its jobs complete together."""
        background_loop.assert_running()
        from . import Transaction

        return Transaction._of(background_loop.call(
            lambda: self._async.transaction(completion_mode=completion_mode)
        ))

    def create(
        self,
        options: BlockdevCreateOptions,
        *,
        replace: bool = False,
        job_id: str | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
    ) -> JobResult:
        """Create a file, or the format in a node (``blockdev-create``).

        A format's ``file`` is the name of a node that is large enough or grows. QEMU would
        truncate a file that is there: that takes ``replace``, else it is a UsageError. What
        else goes wrong is in the job's error.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.create(
                options,
                replace=replace,
                job_id=job_id,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_create(
        self,
        options: BlockdevCreateOptions,
        *,
        replace: bool = False,
        job_id: str | None = None,
    ) -> Job:
        """Start :meth:`create`; return it in flight."""
        background_loop.assert_running()
        from . import Job

        work = self._async.start_create(options, replace=replace, job_id=job_id)
        return Job._of(background_loop.run(work))

    def attach_job(self, job_id: str) -> Job:
        """Return the object of a job that somebody else started, watched from now on.

        It is neither finalized nor dismissed here unless that is asked for; an ``with``
        block or :meth:`Job.run` takes it over. Raises StateError when there is none.
        """
        background_loop.assert_running()
        from . import Job

        return Job._of(background_loop.run(self._async.attach_job(job_id)))

    def query_jobs(self) -> list[Job]:
        """Return every job there is (``query-jobs``), attached as by :meth:`attach_job`."""
        background_loop.assert_running()
        from . import Job

        return [Job._of(item) for item in background_loop.run(self._async.query_jobs())]

    def start_nbd_server(
        self,
        address: NbdAddress | None = None,
        **options: Unpack[ExportServerOptions],
    ) -> ExportServer:
        """Start QEMU's NBD server (``nbd-server-start``). A QEMU has one at most.

        ``address`` is a unix socket's path, or a TCP host and port (0: one that is free, on
        this machine); by default a unix socket in a directory of our own. The rest is in
        :class:`~qemu_blocksdk.objects.ExportServerOptions`. Raises UsageError for a path that
        is too long or taken and for names to admit without x509 credentials that verify them,
        CommandError when a server runs already, for a TCP port in use and for credentials that
        QEMU cannot load, Unsupported.
        """
        background_loop.assert_running()
        from . import ExportServer

        work = self._async.start_nbd_server(address, **options)
        return ExportServer._of(background_loop.run(work))

    def export_fuse(
        self,
        node: Node,
        *,
        mountpoint: str | os.PathLike[str],
        growable: bool | None = None,
        allow_other: FuseExportAllowOther | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> FileExport:
        """Mount a node as a raw image over a regular file (``block-export-add``, FUSE).

        Writes beyond its end enlarge the node, to a multiple of 512 bytes, where it is
        ``growable`` (False). Other users may open it with ``allow_other`` (``auto``: where the
        system lets them). The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises
        CommandError when there is no such file, an export is mounted there or the machine does
        not let QEMU mount; Unsupported.
        """
        background_loop.assert_running()
        from . import FileExport

        work = self._async.export_fuse(
            node._async,
            mountpoint=mountpoint,
            growable=growable,
            allow_other=allow_other,
            id=id,
            **options,
        )
        return FileExport._of(background_loop.run(work))

    def export_vhost_user_blk(
        self,
        node: Node,
        *,
        address: str | os.PathLike[str] | None = None,
        num_queues: int | None = None,
        logical_block_size: int | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> FileExport:
        """Export a node as a vhost-user-blk device (``block-export-add``), for one VM at a time.

        ``address`` is a unix socket's path; by default one in a directory of our own. The device
        has ``num_queues`` (1) virtqueues and blocks of ``logical_block_size`` bytes (512), a
        power of two. The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises
        UsageError for a path that is too long or taken, CommandError, Unsupported.
        """
        background_loop.assert_running()
        from . import FileExport

        work = self._async.export_vhost_user_blk(
            node._async,
            address=address,
            num_queues=num_queues,
            logical_block_size=logical_block_size,
            id=id,
            **options,
        )
        return FileExport._of(background_loop.run(work))

    def export_vduse_blk(
        self,
        node: Node,
        *,
        name: str,
        num_queues: int | None = None,
        queue_size: int | None = None,
        logical_block_size: int | None = None,
        serial: str | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> FileExport:
        """Export a node as a VDUSE device ``name`` of this machine (``block-export-add``).

        It has ``num_queues`` (1) virtqueues of ``queue_size`` (256) and blocks of
        ``logical_block_size`` bytes (512). To use it, attach it to the vDPA bus (``vdpa dev
        add``). The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises CommandError
        where the kernel has no VDUSE or a device of that name, Unsupported.
        """
        background_loop.assert_running()
        from . import FileExport

        work = self._async.export_vduse_blk(
            node._async,
            name=name,
            num_queues=num_queues,
            queue_size=queue_size,
            logical_block_size=logical_block_size,
            serial=serial,
            id=id,
            **options,
        )
        return FileExport._of(background_loop.run(work))

    def query_exports(self) -> list[Export]:
        """Return all exports, also those of other clients (``query-block-exports``)."""
        background_loop.assert_running()
        from . import Export

        return [Export._of(item) for item in background_loop.run(self._async.query_exports())]

    def add_object(self, options: ObjectOptions) -> None:
        """Add any object of QEMU's object model (``object-add``).

        Raises CommandError when the id is taken or QEMU refuses, Unsupported for a type that
        it does not have.
        """
        return background_loop.run(self._async.add_object(options))

    def delete_object(self, id: str) -> None:
        """Remove an object (``object-del``). Raises CommandError when it is in use or gone."""
        return background_loop.run(self._async.delete_object(id))

    def add_secret(self, secret: Secret, *, id: str) -> None:
        """Give QEMU a secret under an id, which options refer to as ``key_secret``.

        ``object-add``, over the monitor's own socket; logs and errors show ``***``. Raises
        CommandError when the id is taken.
        """
        return background_loop.run(self._async.add_secret(secret, id=id))

    def add_throttle_group(
        self,
        id: str,
        *,
        limits: ThrottleLimits | None = None,
    ) -> ThrottleGroup:
        """Add a throttle group (``object-add``); what ``limits`` leave out is not limited.

        See :meth:`ThrottleGroup.set_limits` for their units. Raises CommandError when
        the id is taken, or the limits contradict each other.
        """
        background_loop.assert_running()
        from . import ThrottleGroup

        work = self._async.add_throttle_group(id, limits=limits)
        return ThrottleGroup._of(background_loop.run(work))

    def throttle_group(self, id: str) -> ThrottleGroup:
        """Return the object of a throttle group that QEMU has; QEMU is not asked."""
        background_loop.assert_running()
        from . import ThrottleGroup

        return ThrottleGroup._of(background_loop.call(lambda: self._async.throttle_group(id)))

    def add_iothread(self, id: str, *, parameters: IoThreadParameters | None = None) -> IoThread:
        """Add an I/O thread (``object-add``).

        Raises CommandError when the id is taken, or a parameter out of range.
        """
        background_loop.assert_running()
        from . import IoThread

        work = self._async.add_iothread(id, parameters=parameters)
        return IoThread._of(background_loop.run(work))

    def iothread(self, id: str) -> IoThread:
        """Return the object of an I/O thread that QEMU has; QEMU is not asked."""
        background_loop.assert_running()
        from . import IoThread

        return IoThread._of(background_loop.call(lambda: self._async.iothread(id)))

    def leftovers(self) -> list[Leftover]:
        """Return what clients have left that were killed, or may have been.

        Jobs, exports, an NBD server, nodes, bitmaps, objects; what somebody else named is
        never among them, nor what a client works with that is known to be alive.
        """
        return background_loop.run(self._async.leftovers())

    def clear_leftovers(self, *, force: bool = False, timeout: float = 60.0) -> list[Leftover]:
        """Remove what dead clients have left; return what was removed.

        Jobs are cancelled, a device is put back on the node that it was on, and images that
        were not finished are deleted. What belongs to a client that cannot be checked stays
        without ``force``: it may be at work on another host. Raises CommandError for what
        cannot be removed, as while somebody else uses it, ConnectionLost; DeadlineExceeded
        after ``timeout`` seconds.
        """
        return background_loop.run(self._async.clear_leftovers(force=force, timeout=timeout))
