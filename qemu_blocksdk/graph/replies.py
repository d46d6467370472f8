"""Build nodes and edges from QEMU's replies.

``x-debug-query-block-graph`` lists vertices and edges; the other lists add details to the
vertices of the same name. The reply about an export names its node but not its block backend, so
the backend is found by exclusion.

``x-debug-query-block-graph`` is unstable. Where a QEMU does not have it, the graph is built from
``query-named-block-nodes``: nodes, and from QEMU 10.1 on their children, without permissions,
devices, exports and jobs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from qemu_blocksdk.errors import GraphError

from .model import Edge, GraphNode

if TYPE_CHECKING:
    from qemu_blocksdk.wire import (
        BlockDeviceInfo,
        BlockExportInfo,
        BlockInfo,
        JobInfo,
        XDbgBlockGraph,
    )


def joined(
    graph: XDbgBlockGraph,
    infos: Iterable[BlockDeviceInfo],
    devices: Iterable[BlockInfo],
    jobs: Iterable[JobInfo],
    exports: Iterable[BlockExportInfo],
) -> tuple[tuple[GraphNode, ...], tuple[Edge, ...]]:
    """Return the vertices and edges. Raises GraphError for a reply that contradicts itself."""
    infos = tuple(infos)
    info_of = {info.node_name: info for info in infos}
    device_of = {device.device or device.qdev: device for device in devices}
    job_of = {job.id: job for job in jobs}
    owners_of = _owners(graph, exports)
    nodes: dict[int, GraphNode] = {}
    for vertex in graph.nodes:
        is_backend = vertex.type == "block-backend"
        export, candidates = owners_of.get(vertex.id, (None, ()))
        nodes[vertex.id] = GraphNode(
            id=vertex.id,
            type=vertex.type,
            name=vertex.name,
            info=info_of.get(vertex.name) if vertex.type == "block-driver" else None,
            device=device_of.get(vertex.name) if is_backend and vertex.name else None,
            job=job_of.get(vertex.name) if vertex.type == "block-job" else None,
            export=export,
            candidates=candidates,
        )
    if len(nodes) < len(graph.nodes):
        raise GraphError(
            "one node of each id", found=f"{len(nodes)} ids of {len(graph.nodes)} nodes"
        )
    edges = list(_edges(graph, nodes))
    if not graph.nodes:
        nodes = {
            id: GraphNode(id=id, type="block-driver", name=info.node_name or "", info=info)
            for id, info in enumerate(infos)
        }
        edges = list(_stable_edges(infos, {node.name: node for node in nodes.values()}))
    return tuple(nodes.values()), tuple(edges)


def _stable_edges(
    infos: Iterable[BlockDeviceInfo], nodes: Mapping[str, GraphNode]
) -> Iterable[Edge]:
    for info in infos:
        for child in info.children or ():
            if child.node_name in nodes:
                parent, node = nodes[info.node_name or ""], nodes[child.node_name]
                yield Edge(parent=parent, child=node, name=child.child, perm=(), shared_perm=())


def _edges(graph: XDbgBlockGraph, nodes: dict[int, GraphNode]) -> Iterable[Edge]:
    for edge in graph.edges:
        try:
            parent, child = nodes[edge.parent], nodes[edge.child]
        except KeyError as error:
            ends = f"from node {edge.parent} to {edge.child}"
            raise GraphError(
                f"both ends of edge {edge.name!r} {ends}", found=f"no node {error}"
            ) from error
        yield Edge(
            parent=parent,
            child=child,
            name=edge.name,
            perm=edge.perm,
            shared_perm=edge.shared_perm,
        )


def _owners(
    graph: XDbgBlockGraph, exports: Iterable[BlockExportInfo]
) -> dict[int, tuple[BlockExportInfo | None, tuple[str, ...]]]:
    """Return for each unnamed backend, by its id, the export that owns it or possible owners.

    Every export has a backend on its node that shares the write permission. If a node has as
    many such backends as exports, each belongs to an export; with one, it is known to which.
    """
    unnamed = {node.id for node in graph.nodes if node.type == "block-backend" and not node.name}
    if not unnamed:
        return {}
    vertices = {node.id: node for node in graph.nodes}
    exports_of: dict[str, list[BlockExportInfo]] = defaultdict(list)
    for export in exports:
        exports_of[export.node_name].append(export)
    jobs_of: dict[int, list[str]] = defaultdict(list)
    lenient: dict[int, list[int]] = defaultdict(list)
    node_of: dict[int, int] = {}
    for edge in graph.edges:
        if edge.child not in vertices or edge.parent not in vertices:
            continue
        if vertices[edge.parent].type == "block-job":
            jobs_of[edge.child].append(f"job {vertices[edge.parent].name!r}")
        elif edge.parent in unnamed:
            node_of[edge.parent] = edge.child
            if "write" in edge.shared_perm:
                lenient[edge.child].append(edge.parent)
    owners: dict[int, tuple[BlockExportInfo | None, tuple[str, ...]]] = {}
    for backend, node in node_of.items():
        there = exports_of[vertices[node].name] if backend in lenient[node] else []
        is_sure = len(there) == len(lenient[node])
        owning = [f"export {export.id!r}" for export in there]
        if is_sure and len(there) == 1:
            owners[backend] = there[0], ()
        else:
            owners[backend] = None, tuple(owning if is_sure and owning else owning + jobs_of[node])
    return owners
