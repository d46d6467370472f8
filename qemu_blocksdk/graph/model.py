"""The block graph as QEMU told it at one moment, and the ways through it.

Here is what is asked of a graph; pictures of it, and the difference between two, have modules
of their own. The one mechanism: an index of the edges by their ends, of the
vertices by their names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import GraphError

from .blocked import Obstacle, obstacles
from .diff import GraphDiff, difference
from .index import Index
from .node import Edge, GraphNode, listed
from .paths import mismatch, resolved
from .picture import Picture, picture_of
from .pictured import Pictured
from .replies import joined

if TYPE_CHECKING:
    from qemu_blocksdk.wire import (
        BlockDeviceInfo,
        BlockExportInfo,
        BlockInfo,
        BlockPermission,
        JobInfo,
        XDbgBlockGraph,
    )


class BlockGraph(Pictured, Value):
    """An immutable picture of the block graph: ``graph["disk"].child("backing").filename``.

    A ``name`` is a node's; else a job's, an export's, or a device's id, QOM path or drive. Raises
    GraphError for one that nothing has, or several.
    """

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]

    def __init__(self, *, nodes: tuple[GraphNode, ...], edges: tuple[Edge, ...]) -> None:
        index = Index(nodes, edges)
        vars(self).update(nodes=nodes, edges=edges, _found_by=index)
        for node in nodes:
            vars(node)["_found_by"] = index

    @classmethod
    def from_replies(
        cls,
        graph: XDbgBlockGraph,
        infos: Iterable[BlockDeviceInfo] = (),
        *,
        devices: Iterable[BlockInfo] = (),
        jobs: Iterable[JobInfo] = (),
        exports: Iterable[BlockExportInfo] = (),
    ) -> BlockGraph:
        """Join ``x-debug-query-block-graph`` with what QEMU's other lists have of its nodes.

        In this order: ``query-named-block-nodes``, ``query-block``, ``query-jobs``,
        ``query-block-exports``. Raises GraphError for an edge to nowhere, and an id of two nodes.
        """
        nodes, edges = joined(graph, infos, devices, jobs, exports)
        return cls(nodes=nodes, edges=edges)

    # -- by name ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> GraphNode:
        found = self._index.named.get(name, [])
        if len(found) > 1:
            found = [node for node in found if node.kind == "node"] or found
        if len(found) != 1:
            there = ", ".join(map(str, found)) or listed(self._index.named)
            raise GraphError(f"node {name!r}", found=there)
        return found[0]

    def __contains__(self, name: object) -> bool:
        return name in self._index.named

    @property
    def _index(self) -> Index:
        index: Index = vars(self)["_found_by"]
        return index

    def find(
        self,
        *,
        driver: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        kind: str | None = None,
    ) -> tuple[GraphNode, ...]:
        """Return the vertices of a driver, a file name or a ``kind`` (:attr:`GraphNode.kind`).

        A format whose own file name is a ``json:`` one is found by that of the file below it.
        """
        file = None if filename is None else os.fspath(filename)
        return tuple(
            node
            for node in self.nodes
            if driver in (None, node.driver)
            and kind in (None, node.kind)
            and (file is None or file == node.filename or file == self._file_below(node))
        )

    def _file_below(self, node: GraphNode) -> str | None:
        below: GraphNode | None = node
        for _ in self.nodes:
            if below is None or not (below.filename or "").startswith("json:"):
                break
            below = below.filtered or self._index.child(below, "file")
        return None if below is None else below.filename

    # -- by edge ----------------------------------------------------------------------------

    @property
    def roots(self) -> tuple[GraphNode, ...]:
        """The vertices that nothing uses."""
        return tuple(node for node in self.nodes if not node.parents)

    def resolve(self, name: str, path: str) -> GraphNode:
        """Return the node that a path of children's names leads to: ``"disk", "/backing/file"``.

        Raises GraphError where there is no such child, UsageError for a path that does not begin
        with a slash or has an empty part.
        """
        return resolved(self._index, self[name], path)

    def assert_path(self, root: str, path: str, expected: str | None) -> None:
        """Assert that a path leads to a node of that name; None: that its last part is not there.

        Exactly as ``assert_block_path`` of QEMU's iotests: ``root`` and ``expected`` are names in
        QEMU's reply, of whatever vertex comes first; an empty path is the root itself. Raises
        AssertionError that shows the way.
        """
        if wrong := mismatch(self._index, root, path, expected):
            raise AssertionError(wrong)

    def chain(self, name: str) -> tuple[GraphNode, ...]:
        """Return the nodes that a node's data is on, beginning with itself, or below a device.

        Down through the backing nodes, and through filters by what they filter. Raises GraphError
        when that leads round in a circle.
        """
        chain: dict[int, GraphNode] = {}
        node: GraphNode | None = self[name]
        while node is not None:
            if node.id in chain:
                raise GraphError(f"the end of the chain of {name!r}", found=f"a loop at {node}")
            chain[node.id] = node
            node = node.next_in_chain
        return tuple(node for node in chain.values() if node.kind == "node")

    def common_ancestors(self, *names: str) -> tuple[GraphNode, ...]:
        """Return what uses all of these, also through others; the nearest to the first, first."""
        first, *others = [self[name].ancestors for name in names] or [()]
        shared = [{node.id for node in ancestors} for ancestors in others]
        return tuple(node for node in first if all(node.id in ids for ids in shared))

    # -- two of them, and permissions -----------------------------------------------------------

    def diff(self, after: BlockGraph) -> GraphDiff:
        """Return how a later picture differs: nodes, edges, and what edges permit."""
        return difference(self, after)

    def why_blocked(self, name: str, permission: BlockPermission) -> tuple[Obstacle, ...]:
        """Return what forbids others to have a permission on a node; empty where nothing does.

        Also what forbids it below filters, which need on their file what is needed on them.
        Raises UsageError for a permission that there is not.
        """
        return obstacles(self[name], permission)

    def _picture(self, *, permissions: bool) -> Picture:
        return picture_of(self, permissions=permissions)
