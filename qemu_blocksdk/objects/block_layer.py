"""The block layer of a running QEMU, over any connection: :class:`AsyncBlockLayer`.

VMs and storage daemons are block layers, too (``qemu.py``); they add a process of their own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack, cast

from qemu_blocksdk import wire  # loads each of its modules on first use
from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec import Secret, Struct
from qemu_blocksdk.errors import StateError, UsageError
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.jobs import JobProgress, JobResult
from qemu_blocksdk.qmp import Address, AsyncQmp, OnMessage
from qemu_blocksdk.qmp.cancellation import wait_for_cleanups
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.atomic_write import assert_absent
from qemu_blocksdk.tools.nbd import NbdAddress
from qemu_blocksdk.tools.run import as_file
from qemu_blocksdk.wire import (
    BlockdevAdd,
    BlockdevOptions,
    BlockExportOptionsFuse,
    BlockExportOptionsVduseBlk,
    BlockExportOptionsVhostUserBlk,
    FuseExportAllowOther,
    ObjectAdd,
    ObjectDel,
    ObjectOptions,
    ObjectOptionsIothread,
    ObjectOptionsThrottleGroup,
    QueryBlockExports,
    QueryJobs,
    QueryNamedBlockNodes,
    SocketAddressUnix,
    ThrottleLimits,
)

from ._base import Live, subject
from .chain import Chains
from .cleanup import FileCleanup
from .export import AsyncExport, AsyncFileExport, ExportOptions
from .export_server import AsyncExportServer, ExportServerOptions
from .graph_query import query_graph
from .iothread import AsyncIoThread, IoThreadParameters
from .job import AsyncJob, run_job
from .leftovers import Leftover, query_leftovers, remove_leftovers
from .names import temporary_name
from .node import AsyncNode
from .secret import secret_options
from .throttle_group import AsyncThrottleGroup
from .transaction import AsyncTransaction

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

    from qemu_blocksdk.wire import (
        ActionCompletionMode,
        BlockdevCreateOptions,
        BlockDirtyInfo,
    )


@sealed_class
class AsyncBlockLayer(Live, AsyncResource):
    """The block layer of a running QEMU: nodes, jobs, exports, transactions, objects.

    :meth:`attach` connects to a QEMU; ``AsyncBlockLayer(qmp)`` uses a connection that is open. The
    QEMU is not ours: leaving the block only disconnects, and closes only what :meth:`attach`
    opened.
    """

    _session: AsyncQmp | None = None
    _owns_session = True

    def __init__(self, qmp: AsyncQmp) -> None:
        """Use an open connection, which stays the caller's to close."""
        self._session, self._owns_session = qmp, False

    @cached_property
    def _file_cleanup(self) -> FileCleanup:
        return FileCleanup()

    @classmethod
    async def attach(
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
        session = await AsyncQmp._attach(
            address, timeout=timeout, command_timeout=command_timeout, on_message=on_message
        )
        self = cls._attached(session, address)
        self._owns_session = True
        return self

    @classmethod
    def _attached(cls, session: AsyncQmp, address: Address | QMPClient) -> Self:
        return cls(session)

    @property
    def qmp(self) -> AsyncQmp:
        """The QMP connection."""
        assert self._session is not None
        return self._session

    def _connection(self) -> AsyncQmp:
        return self.qmp

    async def _leave(self, error: BaseException | None) -> None:
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._session is not None and self._owns_session:
            await self._session.close()
            await wait_for_cleanups(self._session)
        self._file_cleanup.remove_directory()  # sockets elsewhere are still in use

    def __repr__(self) -> str:
        state = "attached" if self.qmp.is_connected else "detached"
        return f"<{type(self).__name__}: {state}>"

    # -- nodes ---------------------------------------------------------------------------------

    async def add_node(self, options: BlockdevOptions) -> AsyncNode:
        """Add a block node (``blockdev-add``), with the children that are defined inside it.

        The options need a ``node_name``. Raises UsageError without one and for what QEMU takes
        in no case (:func:`qemu_blocksdk.blockdev.check`), CommandError when it refuses (no such
        file, locked, not that format).
        """
        name = sound_name(options)
        await self._execute(BlockdevAdd(options=options))
        await Chains.of(self.qmp).forget(self, name)
        return self.node(name)

    def node(self, name: str) -> AsyncNode:
        """Return the object of a node that QEMU has; QEMU is not asked."""
        return AsyncNode(self.qmp, name)

    async def add_chain(self, options: BlockdevOptions) -> AsyncNode:
        """Add a node, and its children that have a ``node_name`` as nodes of their own, first.

        A child that an earlier chain added under that name is used again; those without a name
        are inside their parent. Deleting the node that is returned removes them all, except
        what another chain or node uses: that goes with its last user. Raises UsageError for a
        name that stands for something else, CommandError when QEMU refuses a node: the others
        are removed again then.
        """
        chain = await Chains.of(self._connection()).add(self, options)
        return AsyncNode(self._connection(), chain.top, chain)

    async def reopen(self, options: Sequence[BlockdevOptions]) -> None:
        """Open nodes with other options, all or none; see :meth:`AsyncNode.reopen`."""
        for each in options:
            sound_name(each)
        await self._execute(wire.BlockdevReopen(options=options))

    async def graph(self) -> BlockGraph:
        """Return the current block graph (``x-debug-query-block-graph``).

        One more command each adds details of its nodes, devices, jobs and exports.
        """
        return await query_graph(self)

    async def query_bitmaps(self) -> dict[str, Sequence[BlockDirtyInfo]]:
        """Return the dirty bitmaps of each node that has some, by its name."""
        nodes = await self._execute(QueryNamedBlockNodes(flat=True))
        return {
            info.node_name: info.dirty_bitmaps
            for info in nodes
            if info.node_name is not None and info.dirty_bitmaps
        }

    # -- jobs and transactions -----------------------------------------------------------------

    def transaction(
        self, *, completion_mode: ActionCompletionMode | None = None
    ) -> AsyncTransaction:
        """Return an empty transaction; with ``grouped``, its jobs complete together."""
        return AsyncTransaction(self.qmp, completion_mode=completion_mode)

    async def create(
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
        start = self.start_create(options, replace=replace, job_id=job_id)
        return await run_job(
            start,
            self._connection(),
            what=f"the creation by {subject(self)}",
            on_progress=on_progress,
            timeout=timeout,
        )

    async def start_create(
        self,
        options: BlockdevCreateOptions,
        *,
        replace: bool = False,
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start :meth:`create`; return it in flight."""
        if isinstance(options, wire.BlockdevCreateOptionsFile):
            assert_absent(Path(options.filename), replace=replace)
        job_id = job_id or temporary_name(self._connection())
        command = wire.BlockdevCreate(job_id=job_id, options=options)
        return await AsyncJob._start(self, command, job_id=job_id, kind="create")

    async def attach_job(self, job_id: str) -> AsyncJob:
        """Return the object of a job that somebody else started, watched from now on.

        It is neither finalized nor dismissed here unless that is asked for; an ``async with``
        block or :meth:`AsyncJob.run` takes it over. Raises StateError when there is none.
        """
        return await AsyncJob.attach(self.qmp, job_id)

    async def query_jobs(self) -> list[AsyncJob]:
        """Return every job there is (``query-jobs``), attached as by :meth:`attach_job`."""
        jobs: list[AsyncJob] = []
        for info in await self._execute(QueryJobs()):
            with contextlib.suppress(StateError):  # gone meanwhile
                jobs.append(await self.attach_job(info.id))
        return jobs

    # -- exports -------------------------------------------------------------------------------

    async def start_nbd_server(
        self, address: NbdAddress | None = None, **options: Unpack[ExportServerOptions]
    ) -> AsyncExportServer:
        """Start QEMU's NBD server (``nbd-server-start``). A QEMU has one at most.

        ``address`` is a unix socket's path, or a TCP host and port (0: one that is free, on
        this machine); by default a unix socket in a directory of our own. The rest is in
        :class:`~qemu_blocksdk.objects.ExportServerOptions`. Raises UsageError for a path that
        is too long or taken and for names to admit without x509 credentials that verify them,
        CommandError when a server runs already, for a TCP port in use and for credentials that
        QEMU cannot load, Unsupported.
        """
        return await AsyncExportServer._start(self, address, self._file_cleanup, options)

    async def export_fuse(
        self,
        node: AsyncNode,
        *,
        mountpoint: str | os.PathLike[str],
        growable: bool | None = None,
        allow_other: FuseExportAllowOther | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncFileExport:
        """Mount a node as a raw image over a regular file (``block-export-add``, FUSE).

        Writes beyond its end enlarge the node, to a multiple of 512 bytes, where it is
        ``growable`` (False). Other users may open it with ``allow_other`` (``auto``: where the
        system lets them). The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises
        CommandError when there is no such file, an export is mounted there or the machine does
        not let QEMU mount; Unsupported.
        """
        wire = BlockExportOptionsFuse(
            id=self._new_id(id),
            node_name=node.name,
            mountpoint=_resolved(mountpoint),
            growable=growable,
            allow_other=allow_other,
            **options,
        )
        return await self._file_export(wire, node, path=wire.mountpoint)

    async def export_vhost_user_blk(
        self,
        node: AsyncNode,
        *,
        address: str | os.PathLike[str] | None = None,
        num_queues: int | None = None,
        logical_block_size: int | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncFileExport:
        """Export a node as a vhost-user-blk device (``block-export-add``), for one VM at a time.

        ``address`` is a unix socket's path; by default one in a directory of our own. The device
        has ``num_queues`` (1) virtqueues and blocks of ``logical_block_size`` bytes (512), a
        power of two. The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises
        UsageError for a path that is too long or taken, CommandError, Unsupported.
        """
        self._connection()  # else nobody removes the directory that is made now
        export_id = self._new_id(id)
        path = self._file_cleanup.new_socket(address, name=f"{export_id}.sock")
        wire = BlockExportOptionsVhostUserBlk(
            id=export_id,
            node_name=node.name,
            addr=SocketAddressUnix(path=path),
            num_queues=num_queues,
            logical_block_size=logical_block_size,
            **options,
        )
        return await self._file_export(wire, node, path=path)

    async def export_vduse_blk(
        self,
        node: AsyncNode,
        *,
        name: str,
        num_queues: int | None = None,
        queue_size: int | None = None,
        logical_block_size: int | None = None,
        serial: str | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncFileExport:
        """Export a node as a VDUSE device ``name`` of this machine (``block-export-add``).

        It has ``num_queues`` (1) virtqueues of ``queue_size`` (256) and blocks of
        ``logical_block_size`` bytes (512). To use it, attach it to the vDPA bus (``vdpa dev
        add``). The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises CommandError
        where the kernel has no VDUSE or a device of that name, Unsupported.
        """
        wire = BlockExportOptionsVduseBlk(
            id=self._new_id(id),
            node_name=node.name,
            name=name,
            num_queues=num_queues,
            queue_size=queue_size,
            logical_block_size=logical_block_size,
            serial=serial,
            **options,
        )
        return await self._file_export(wire, node, path=f"/dev/vduse/{name}")

    async def _file_export(
        self,
        options: BlockExportOptionsFuse
        | BlockExportOptionsVhostUserBlk
        | BlockExportOptionsVduseBlk,
        node: AsyncNode,
        *,
        path: str,
    ) -> AsyncFileExport:
        export = AsyncFileExport(
            self._connection(),
            options.id,
            options.type,
            node,
            path=path,
            file_cleanup=self._file_cleanup,
        )
        return await export._added_by(self, options)

    def _new_id(self, id: str | None) -> str:
        return id if id is not None else temporary_name(self._connection())

    async def query_exports(self) -> list[AsyncExport]:
        """Return all exports, also those of other clients (``query-block-exports``)."""
        qmp = self._connection()
        listening = [
            AsyncExport(qmp, info.id, info.type, AsyncNode(qmp, info.node_name))
            for info in await self._execute(QueryBlockExports())
        ]
        # One may have gone before anybody listened.
        there = {info.id for info in await self._execute(QueryBlockExports())}
        return [export for export in listening if export.id in there]

    # -- objects -------------------------------------------------------------------------------

    async def add_object(self, options: ObjectOptions) -> None:
        """Add any object of QEMU's object model (``object-add``).

        Raises CommandError when the id is taken or QEMU refuses, Unsupported for a type that
        it does not have.
        """
        if not isinstance(cast("object", options), Struct):
            raise UsageError(f"{options!r} is none of the classes of qemu_blocksdk.wire")
        await self._execute(ObjectAdd(options=options))

    async def delete_object(self, id: str) -> None:
        """Remove an object (``object-del``). Raises CommandError when it is in use or gone."""
        await self._execute(ObjectDel(id=id))

    async def add_secret(self, secret: Secret, *, id: str) -> None:
        """Give QEMU a secret under an id, which options refer to as ``key_secret``.

        ``object-add``, over the monitor's own socket; logs and errors show ``***``. Raises
        CommandError when the id is taken.
        """
        await self.add_object(secret_options(secret, id=id))

    async def add_throttle_group(
        self, id: str, *, limits: ThrottleLimits | None = None
    ) -> AsyncThrottleGroup:
        """Add a throttle group (``object-add``); what ``limits`` leave out is not limited.

        See :meth:`AsyncThrottleGroup.set_limits` for their units. Raises CommandError when
        the id is taken, or the limits contradict each other.
        """
        options = ObjectOptionsThrottleGroup(id=id, limits=limits)
        return await self.throttle_group(id)._begin(self.add_object(options))

    def throttle_group(self, id: str) -> AsyncThrottleGroup:
        """Return the object of a throttle group that QEMU has; QEMU is not asked."""
        return AsyncThrottleGroup(self._connection(), id)

    async def add_iothread(
        self, id: str, *, parameters: IoThreadParameters | None = None
    ) -> AsyncIoThread:
        """Add an I/O thread (``object-add``).

        Raises CommandError when the id is taken, or a parameter out of range.
        """
        given = parameters or IoThreadParameters()
        options = ObjectOptionsIothread(
            id=id,
            poll_max_ns=given.poll_max_ns,
            poll_grow=given.poll_grow,
            poll_shrink=given.poll_shrink,
            aio_max_batch=given.aio_max_batch,
        )
        return await self.iothread(id)._begin(self.add_object(options))

    def iothread(self, id: str) -> AsyncIoThread:
        """Return the object of an I/O thread that QEMU has; QEMU is not asked."""
        return AsyncIoThread(self._connection(), id)

    # -- leftovers -----------------------------------------------------------------------------

    async def leftovers(self) -> list[Leftover]:
        """Return what clients have left that were killed, or may have been.

        Jobs, exports, an NBD server, nodes, bitmaps, objects; what somebody else named is
        never among them, nor what a client works with that is known to be alive.
        """
        return await query_leftovers(self)

    async def clear_leftovers(
        self, *, force: bool = False, timeout: float = 60.0
    ) -> list[Leftover]:
        """Remove what dead clients have left; return what was removed.

        Jobs are cancelled, a device is put back on the node that it was on, and images that
        were not finished are deleted. What belongs to a client that cannot be checked stays
        without ``force``: it may be at work on another host. Raises CommandError for what
        cannot be removed, as while somebody else uses it, ConnectionLost; DeadlineExceeded
        after ``timeout`` seconds.
        """
        async with within(timeout, "the removal of what dead clients have left"):
            return await remove_leftovers(self, force=force)


def _resolved(path: str | os.PathLike[str]) -> str:
    """Return the path under which the kernel will know the mount."""
    return str(Path(as_file(path)).resolve())
