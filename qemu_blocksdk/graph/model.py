"""Nodes and edges as QEMU told them at one moment, and their picture as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import GraphError

if TYPE_CHECKING:
    from qemu_blocksdk.wire import (
        BlockDeviceInfo,
        BlockPermission,
        XDbgBlockGraph,
        XDbgBlockGraphNodeType,
    )


class GraphNode(Value):
    """A vertex: a block node, or a parent of one (a device's backend, a job).

    ``id`` is QEMU's number for this picture only. ``driver`` and ``filename`` are those
    of block nodes, None of others.
    """

    id: int
    type: XDbgBlockGraphNodeType
    name: str
    driver: str | None = None
    filename: str | None = None


class Edge(Value):
    """``parent`` uses ``child`` under ``name`` with ``perm``, and tolerates ``shared_perm``."""

    parent: GraphNode
    child: GraphNode
    name: str
    perm: Sequence[BlockPermission]
    shared_perm: Sequence[BlockPermission]


class BlockGraph(Value):
    """An immutable picture of the block graph."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def from_replies(cls, graph: XDbgBlockGraph, infos: Sequence[BlockDeviceInfo]) -> BlockGraph:
        """Join ``x-debug-query-block-graph`` with ``query-named-block-nodes``."""
        known = {info.node_name: info for info in infos if info.node_name is not None}
        nodes: dict[int, GraphNode] = {}
        for node in graph.nodes:
            info = known.get(node.name) if node.type == "block-driver" else None
            nodes[node.id] = GraphNode(
                id=node.id,
                type=node.type,
                name=node.name,
                driver=None if info is None else info.drv,
                filename=None if info is None else info.file,
            )
        edges = tuple(
            Edge(
                parent=nodes[edge.parent],
                child=nodes[edge.child],
                name=edge.name,
                perm=edge.perm,
                shared_perm=edge.shared_perm,
            )
            for edge in graph.edges
        )
        return cls(nodes=tuple(nodes.values()), edges=edges)

    @property
    def roots(self) -> tuple[GraphNode, ...]:
        """The vertices that nothing uses."""
        children = {edge.child.id for edge in self.edges}
        return tuple(node for node in self.nodes if node.id not in children)

    def find(self, name: str) -> GraphNode:
        """Return the block node of a name. Raises GraphError."""
        nodes = [node for node in self.nodes if node.type == "block-driver"]
        for node in nodes:
            if node.name == name:
                return node
        raise GraphError(f"node {name!r}", found=listed(node.name for node in nodes))

    def children(self, node: GraphNode) -> tuple[Edge, ...]:
        """The edges from a vertex to what it uses, in QEMU's order."""
        return tuple(edge for edge in self.edges if edge.parent.id == node.id)

    def parents(self, node: GraphNode) -> tuple[Edge, ...]:
        """The edges to a vertex from what uses it: nodes, devices, exports, jobs."""
        return tuple(edge for edge in self.edges if edge.child.id == node.id)

    def draw(self) -> str:
        """Return the graph as a tree for the terminal; what was drawn before is not unfolded."""
        children: dict[int, list[Edge]] = {}
        for edge in self.edges:
            children.setdefault(edge.parent.id, []).append(edge)
        lines: list[str] = []
        drawn: set[int] = set()
        # A stack, not recursion: a backing chain may be longer than Python's call stack.
        todo = [(root, "", "") for root in reversed(self.roots)]
        while todo:
            node, lead, below = todo.pop()
            edges = children.get(node.id, [])
            again = bool(edges) and node.id in drawn
            lines.append(f"{lead}{_label(node)}{' (see above)' if again else ''}")
            if again:
                continue
            drawn.add(node.id)
            for edge in reversed(edges):
                is_last = edge is edges[-1]
                branch, trunk = ("└─", "   ") if is_last else ("├─", "│  ")
                todo.append((edge.child, f"{below}{branch} {edge.name}: ", below + trunk))
        return "\n".join(lines)


def listed(names: Iterable[str]) -> str:
    """Return names as an error tells what there is: ten at the most."""
    names = sorted(names)
    more = f" and {len(names) - 10} more" if names[10:] else ""
    return (", ".join(names[:10]) or "none") + more


def _label(node: GraphNode) -> str:
    kind = node.driver or node.type
    is_leaf = node.driver is not None and node.filename and not node.filename.startswith("json:")
    return f"{node.name or 'unnamed'} [{kind}]" + (f" {node.filename}" if is_leaf else "")
