"""Ask a running QEMU for its block graph."""

from __future__ import annotations

from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.wire import (
    QueryBlock,
    QueryBlockExports,
    QueryJobs,
    QueryNamedBlockNodes,
    XDbgBlockGraph,
    XDebugQueryBlockGraph,
)

from ._base import Live

_NO_GRAPH = XDbgBlockGraph(nodes=(), edges=())


async def query_graph(asking: Live) -> BlockGraph:
    """Return the current block graph, with details of nodes, devices, jobs and exports."""
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
