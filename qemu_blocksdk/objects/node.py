"""Block nodes: what a running QEMU reads and writes. What they are asked, what changes them and
the jobs on them are in the bases, whose names begin with ``node_``."""

from __future__ import annotations

from qemu_blocksdk.codec import NULL
from qemu_blocksdk.qmp import AsyncQmp, shielded
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import BlockdevDel, XBlockdevSetIothread

from .bitmap import AsyncBitmap
from .chain import Chain, Chains
from .iothread import AsyncIoThread
from .node_io import AsyncNodeIo
from .node_jobs import NodeJobs


@sealed_class
class AsyncNode(NodeJobs):
    """A node of the block graph, by its name."""

    def __init__(self, qmp: AsyncQmp, name: str, chain: Chain | None = None) -> None:
        super().__init__(qmp, name)
        self._chain = chain

    async def delete(self) -> None:
        """Remove the node and what it opened for itself (``blockdev-del``).

        Of one that :meth:`AsyncQemu.add_chain` returned, also the nodes below that it added,
        once nothing uses them any more. Raises CommandError when it is in use or not there,
        StateError the second time for such a chain.
        """
        chains = Chains.of(self._qmp)
        if self._chain is not None:
            await shielded(chains.remove(self, self._chain))
            return
        await self._execute(BlockdevDel(node_name=self._name))
        await shielded(chains.forget(self, self._name))

    # -- bitmaps --------------------------------------------------------------------------

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

    # -- I/O ------------------------------------------------------------------------------

    @property
    def io(self) -> AsyncNodeIo:
        """Requests to the node through QEMU's monitor."""
        return AsyncNodeIo(self)

    async def qemu_io(self, command: str, *, timeout: float | None = None) -> str:
        """Have QEMU carry out any command of qemu-io on the node; return what it printed.

        Raises ToolError when that says that it failed, else as :attr:`io`.
        """
        return await self.io._raw(command, timeout)

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
