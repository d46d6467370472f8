"""What can be asked of a block node, and what it tells by itself. Nothing here changes it,
but for the threshold that it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.errors import GraphError, Unsupported
from qemu_blocksdk.graph import BlockGraph, Edge, GraphNode, listed
from qemu_blocksdk.qmp import AsyncEventStream, AsyncQmp
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.wire import (
    BlockDeviceInfo,
    BlockImageCorrupted,
    BlockIoError,
    BlockSetWriteThreshold,
    BlockStats,
    BlockWriteThreshold,
    QueryBlock,
    QueryBlockExports,
    QueryBlockstats,
    QueryJobs,
    QueryNamedBlockNodes,
    QuorumFailure,
    QuorumReportBad,
    XDbgBlockGraph,
    XDebugQueryBlockGraph,
)

from .live import Live

if TYPE_CHECKING:
    from .node import AsyncNode

NodeEvent = (
    BlockIoError | BlockImageCorrupted | BlockWriteThreshold | QuorumFailure | QuorumReportBad
)
"""What QEMU tells of a node by itself."""

_NO_GRAPH = XDbgBlockGraph(nodes=(), edges=())


class NodeInfo(Live):
    """A node by its name, its place in the graph, its statistics and events."""

    def __init__(self, qmp: AsyncQmp, name: str) -> None:
        self._qmp = qmp
        self._name = name

    @property
    def name(self) -> str:
        """The node name."""
        return self._name

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

    # -- graph ----------------------------------------------------------------------------

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
        return cast("AsyncNode", type(self)(self._qmp, name))

    # -- events ---------------------------------------------------------------------------

    def events(self) -> AsyncEventStream[NodeEvent]:
        """Subscribe to what QEMU tells of the node from now on.

        BLOCK_IO_ERROR (of a guest's device on it), BLOCK_IMAGE_CORRUPTED,
        BLOCK_WRITE_THRESHOLD, and of a quorum QUORUM_FAILURE; QUORUM_REPORT_BAD is told of
        its child.
        """
        return (
            self._qmp.events(BlockIoError, node_name=self._name)
            .also(BlockImageCorrupted, node_name=self._name)
            .also(BlockWriteThreshold, node_name=self._name)
            .also(QuorumReportBad, node_name=self._name)
            .also(QuorumFailure, reference=self._name)
        )

    async def set_write_threshold(
        self, threshold: int | str
    ) -> AsyncEventStream[BlockWriteThreshold]:
        """Have QEMU tell when a write ends beyond an offset (``block-set-write-threshold``).

        Returns the stream in which that is told, once: the threshold, in bytes or as in
        ``"64M"``, is off then, as it is with 0. Useful on the file below an image that grows.
        """
        command = BlockSetWriteThreshold(node_name=self._name, write_threshold=to_bytes(threshold))
        events = self._qmp.events(BlockWriteThreshold, node_name=self._name)
        try:
            await self._execute(command)
        except BaseException:
            events.close()
            raise
        return events

    def __repr__(self) -> str:
        return f"<node {self._name!r}>"


async def query_graph(asking: Live) -> BlockGraph:
    """Return a picture of the block graph as it is now, with all that QEMU tells of it."""
    return BlockGraph.from_replies(
        await _query_unstable_graph(asking) or _NO_GRAPH,
        await asking._execute(QueryNamedBlockNodes(flat=True)),
        devices=await asking._execute(QueryBlock()),
        jobs=await asking._execute(QueryJobs()),
        exports=await asking._execute(QueryBlockExports()),
    )


async def query_edges(asking: Live) -> BlockGraph:
    """Return what uses what, and no more: one command where QEMU has one for it."""
    graph = await _query_unstable_graph(asking)
    if graph is not None:
        return BlockGraph.from_replies(graph)
    nodes = await asking._execute(QueryNamedBlockNodes(flat=True))
    return BlockGraph.from_replies(_NO_GRAPH, nodes)


async def _query_unstable_graph(asking: Live) -> XDbgBlockGraph | None:
    """Return what only an unstable command has: permissions, devices, exports and jobs."""
    try:
        return await asking._execute(XDebugQueryBlockGraph())
    except Unsupported:
        return None
