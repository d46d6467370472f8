"""Block nodes: what a running QEMU reads and writes."""

from __future__ import annotations

from qemu_blocksdk.codec import NULL
from qemu_blocksdk.errors import GraphError
from qemu_blocksdk.qmp import AsyncQmp
from qemu_blocksdk.wire import (
    BitmapSyncMode,
    BlockdevBackup,
    BlockdevDel,
    BlockDeviceInfo,
    BlockdevOnError,
    MirrorSyncMode,
    QueryNamedBlockNodes,
    XBlockdevSetIothread,
)

from .bitmap import AsyncBitmap
from .iothread import AsyncIoThread
from .job import AsyncJob, new_job_id
from .live import Live


class AsyncNode(Live):
    """A node of the block graph, by its name."""

    def __init__(self, qmp: AsyncQmp, name: str) -> None:
        self._qmp = qmp
        self._name = name

    @property
    def name(self) -> str:
        """The node name."""
        return self._name

    async def query_info(self) -> BlockDeviceInfo:
        """Return what QEMU knows of the node (``query-named-block-nodes``).

        Raises GraphError when there is no such node.
        """
        nodes = await self._execute(QueryNamedBlockNodes(flat=True))
        for info in nodes:
            if info.node_name == self._name:
                return info
        names = sorted(info.node_name or "" for info in nodes)
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")
        raise GraphError(f"node {self._name!r}", found=shown or "no nodes")

    async def delete(self) -> None:
        """Remove the node and what it opened for itself (``blockdev-del``).

        Raises CommandError when it is in use.
        """
        await self._execute(BlockdevDel(node_name=self._name))

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

    async def backup(
        self,
        target: AsyncNode,
        *,
        sync: MirrorSyncMode = "full",
        bitmap: AsyncBitmap | None = None,
        bitmap_mode: BitmapSyncMode | None = None,
        speed: int | None = None,
        compress: bool | None = None,
        on_source_error: BlockdevOnError | None = None,
        on_target_error: BlockdevOnError | None = None,
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start to copy the node as it is now to ``target`` (``blockdev-backup``).

        With a ``bitmap`` (``sync="incremental"``, or ``"bitmap"`` with a
        ``bitmap_mode``), only what it marks. ``speed`` is in bytes a second, 0 for no
        limit. Raises CommandError when QEMU refuses to start it; what goes wrong later
        is the job's to tell.
        """
        job_id = job_id or new_job_id("backup")
        command = BlockdevBackup(
            job_id=job_id,
            device=self._name,
            target=target.name,
            sync=sync,
            bitmap=None if bitmap is None else bitmap.name,
            bitmap_mode=bitmap_mode,
            speed=speed,
            compress=compress,
            on_source_error=on_source_error,
            on_target_error=on_target_error,
            auto_dismiss=False,
        )
        return await AsyncJob.start(self, command, job_id=job_id, kind="backup")

    async def query_child(self, name: str) -> AsyncNode:
        """TEMPORARY."""
        from qemu_blocksdk.graph import BlockGraph
        from qemu_blocksdk.wire import XDebugQueryBlockGraph

        g = BlockGraph.from_replies(
            await self._execute(XDebugQueryBlockGraph()),
            await self._execute(QueryNamedBlockNodes(flat=True)),
        )
        for e in g.edges:
            if e.parent.name == self._name and e.name == name:
                return AsyncNode(self._qmp, e.child.name)
        raise GraphError(f"child {name!r} of {self._name!r}", found="none")

    async def mirror(self, target: AsyncNode, *, sync: MirrorSyncMode = "full") -> AsyncJob:
        """TEMPORARY."""
        from qemu_blocksdk.wire import BlockdevMirror

        job_id = new_job_id("mirror")
        return await AsyncJob.start(
            self,
            BlockdevMirror(
                job_id=job_id, device=self._name, target=target.name, sync=sync, auto_dismiss=False
            ),
            job_id=job_id,
            kind="mirror",
        )

    async def commit(self, *, base: AsyncNode) -> AsyncJob:
        """TEMPORARY."""
        from qemu_blocksdk.wire import BlockCommit

        job_id = new_job_id("commit")
        return await AsyncJob.start(
            self,
            BlockCommit(job_id=job_id, device=self._name, base_node=base.name, auto_dismiss=False),
            job_id=job_id,
            kind="commit",
        )

    async def stream(self, *, auto_finalize: bool = True) -> AsyncJob:
        """TEMPORARY."""
        from qemu_blocksdk.wire import BlockStream

        job_id = new_job_id("stream")
        return await AsyncJob.start(
            self,
            BlockStream(
                job_id=job_id, device=self._name, auto_dismiss=False, auto_finalize=auto_finalize
            ),
            job_id=job_id,
            kind="stream",
            auto_finalize=auto_finalize,
        )

    async def set_iothread(self, iothread: AsyncIoThread | None, *, force: bool = False) -> None:
        """Move the node into an I/O thread, or back (None), with ``x-blockdev-set-iothread``.

        Move it back before the thread is removed: QEMU does not refuse that, and 7.2 crashes
        then. Raises CommandError when it is in use; ``force`` moves it under an export, but
        not under a device, whose own thread counts.
        """
        name = NULL if iothread is None else iothread.id
        command = XBlockdevSetIothread(node_name=self._name, iothread=name, force=force)
        await self._execute(command)

    def __repr__(self) -> str:
        return f"<node {self._name!r}>"
