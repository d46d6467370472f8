"""What every QEMU with a block layer has, be it a VM or a storage daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import StateError
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import (
    BlockdevAdd,
    BlockdevOptions,
    QueryJobs,
    QueryNamedBlockNodes,
)

from .chain import Chains
from .exporting import Exporting
from .graph_query import query_graph
from .job import AsyncJob
from .leftovers import Leftover, query_leftovers, remove_leftovers
from .life import Life
from .node import AsyncNode
from .nodes import Nodes
from .secret import secret_options
from .transaction import AsyncTransaction
from .user_objects import UserObjects

if TYPE_CHECKING:
    from qemu_blocksdk.wire import ActionCompletionMode, BlockDirtyInfo


@sealed_class
class AsyncQemu(Nodes, Exporting, UserObjects, Life):
    """A QEMU process and its block layer.

    Use it as a context manager, or :meth:`launch` and :meth:`stop` it. The process ends
    with the block, with the Python process at the latest. One that :meth:`attach` returns
    is not ours, and goes on.
    """

    async def _clean_up(self) -> None:
        await super()._clean_up()
        if self._is_attached:
            self._traces.remove_directory()  # what is elsewhere is in use still
        else:
            await self._traces.remove_all()

    async def add_secret(self, secret: Secret, *, id: str) -> None:
        """Give QEMU a secret under an id, which options refer to as ``key_secret``.

        ``object-add``, over the monitor's own socket; logs and errors show ``***``. Raises
        CommandError when the id is taken.
        """
        await self.add_object(secret_options(secret, id=id))

    # -- block layer --------------------------------------------------------------------

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

    async def graph(self) -> BlockGraph:
        """Return a picture of the block graph as it is now (``x-debug-query-block-graph``).

        With what QEMU's lists say of its nodes, devices, jobs and exports, a command each.
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

    def transaction(
        self, *, completion_mode: ActionCompletionMode | None = None
    ) -> AsyncTransaction:
        """Return an empty transaction; with ``grouped``, its jobs complete together."""
        return AsyncTransaction(self.qmp, completion_mode=completion_mode)

    async def attach_job(self, job_id: str) -> AsyncJob:
        """Return the object of a job that somebody else started, watched from now on.

        It is neither finalized nor dismissed here unless that is asked for; an ``async with``
        block or :meth:`AsyncJob.run` takes it over. Raises StateError when there is none.
        """
        return await AsyncJob.attach(self.qmp, job_id)

    # -- leftovers ----------------------------------------------------------------------

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

    # -- jobs -----------------------------------------------------------------------------

    async def query_jobs(self) -> list[AsyncJob]:
        """Return every job there is (``query-jobs``), attached as by :meth:`attach_job`."""
        jobs: list[AsyncJob] = []
        for info in await self._execute(QueryJobs()):
            with contextlib.suppress(StateError):  # gone meanwhile
                jobs.append(await self.attach_job(info.id))
        return jobs
