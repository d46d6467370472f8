"""The block graph of a QEMU at one moment, and the difference between two.

``BlockGraph`` offers methods and keeps the data; the work is done by free functions of the other
modules: ``replies`` (built from QEMU's replies), ``paths`` (``/backing/file``), ``diff``, and
``render`` (drawings). Those know nodes and edges (``model``) and never import this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import GraphError

from .diff import EdgeChange, changes
from .model import Blocker, Edge, GraphNode, Index, blockers, listed
from .paths import mismatch, resolved
from .render import Arrow, Change, Drawable, Picture, arrow, box, keys_of, picture_of
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


class BlockGraph(Drawable, Value):
    """The block graph at one moment, immutable: ``graph["disk"].child("backing").filename``.

    Vertices are found by name: the name of a node; otherwise the id of a job, an export or a
    device, a device's QOM path, or the name of a drive. A name that no vertex has, or several,
    raises GraphError. In a notebook the graph displays itself, as an SVG where ``dot`` is
    installed, otherwise as a tree.
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
        """Build a graph from QEMU's replies.

        ``graph`` is the reply to ``x-debug-query-block-graph``, ``infos`` to
        ``query-named-block-nodes``, ``devices`` to ``query-block``, ``jobs`` to ``query-jobs``,
        ``exports`` to ``query-block-exports``. Raises GraphError if an edge has an unknown end or
        two nodes have one id.
        """
        nodes, edges = joined(graph, infos, devices, jobs, exports)
        return cls(nodes=nodes, edges=edges)

    # -- lookup -----------------------------------------------------------------------------

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
        """Return the vertices with this driver, file name and ``kind`` (:attr:`GraphNode.kind`).

        What is not given matches everything. A format node whose own file name is a ``json:`` one
        is also found by the file name of its protocol node.
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

    # -- walks ------------------------------------------------------------------------------

    @property
    def roots(self) -> tuple[GraphNode, ...]:
        """The vertices without parents."""
        return tuple(node for node in self.nodes if not node.parents)

    def resolve(self, name: str, path: str) -> GraphNode:
        """Return the node at the end of a path of edge names: ``"disk", "/backing/file"``.

        Raises GraphError where there is no such child; UsageError if the path does not begin with
        a slash or has an empty part.
        """
        return resolved(self._index, self[name], path)

    def assert_path(self, root: str, path: str, expected: str | None) -> None:
        """Assert that a path ends at a node of this name, or with None: at a missing child.

        Behaves like ``assert_block_path`` of QEMU's iotests: ``root`` and ``expected`` are names
        in QEMU's reply, of the first vertex that has them; an empty path is the root itself.
        Raises AssertionError, which shows the nodes along the path.
        """
        if wrong := mismatch(self._index, root, path, expected):
            raise AssertionError(wrong)

    def chain(self, name: str) -> tuple[GraphNode, ...]:
        """Return the backing chain of a node or a device, from top to bottom.

        It includes the node itself, and the filters in between. Raises GraphError for a chain that
        is a circle.
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
        """Return the direct and indirect parents that all have, nearest to the first name."""
        first, *others = [self[name].ancestors for name in names] or [()]
        shared = [{node.id for node in ancestors} for ancestors in others]
        return tuple(node for node in first if all(node.id in ids for ids in shared))

    # -- comparison and permissions ---------------------------------------------------------------

    def diff(self, after: BlockGraph) -> GraphDiff:
        """Return what has changed in a later graph: nodes, edges, and permissions of edges."""
        found = changes((self.nodes, self.edges), (after.nodes, after.edges))
        return GraphDiff(before=self, after=after, **found._asdict())

    def why_blocked(self, name: str, permission: BlockPermission) -> tuple[Blocker, ...]:
        """Return the parents of a node that do not share a permission; empty if all share it.

        Parents of the nodes below a filter are included, because a filter takes the same
        permissions on its child. Raises UsageError for an unknown permission.
        """
        return blockers(self[name], permission)

    def _picture(self, *, permissions: bool) -> Picture:
        return picture_of(self.nodes, self.edges, permissions=permissions)

    def __repr__(self) -> str:
        return (
            f"<BlockGraph: {_count(self.nodes, 'node')}, {_count(self.edges, 'edge')}; "
            f"roots: {listed(str(node) for node in self.roots)}>"
        )


class GraphDiff(Drawable, Value):
    """The difference between two graphs. It is true if there is any; ``str()`` is a line for each.

    ``moved`` are edges that kept their name and one end and have another child (``disk`` has
    another ``backing``) or another parent. ``permissions`` are edges that kept both ends and hold
    or share other permissions.
    """

    before: BlockGraph
    after: BlockGraph
    nodes_added: tuple[GraphNode, ...]
    nodes_removed: tuple[GraphNode, ...]
    edges_added: tuple[Edge, ...]
    edges_removed: tuple[Edge, ...]
    moved: tuple[EdgeChange, ...]
    permissions: tuple[EdgeChange, ...]

    def __bool__(self) -> bool:
        return any(
            (
                *(self.nodes_added, self.nodes_removed, self.edges_added, self.edges_removed),
                *(self.moved, self.permissions),
            )
        )

    def __str__(self) -> str:
        return "\n".join(self._lines()) or "no difference"

    def __repr__(self) -> str:
        counts = [
            _count(self.nodes_added, "node", " added"),
            _count(self.nodes_removed, "node", " removed"),
            _count(self.edges_added, "edge", " added"),
            _count(self.edges_removed, "edge", " removed"),
            _count(self.moved, "edge", " moved"),
            _count(self.permissions, "edge", " with other permissions"),
        ]
        return f"<GraphDiff: {', '.join(c for c in counts if c[0] != '0') or 'no difference'}>"

    def _lines(self) -> Iterator[str]:
        yield from (f"{node} was added" for node in self.nodes_added)
        yield from (f"{node} was removed" for node in self.nodes_removed)
        yield from (f"{edge} was added" for edge in self.edges_added)
        yield from (f"{edge} was removed" for edge in self.edges_removed)
        yield from (f"{change.before} is now {change.after}" for change in self.moved)
        for change in self.permissions:
            old, new = change.before, change.after
            held = _gained_and_lost("holds", old.perm, new.perm)
            shared = _gained_and_lost("shares", old.shared_perm, new.shared_perm)
            yield f"{new} {'; '.join([*held, *shared])}"

    def _picture(self, *, permissions: bool) -> Picture:
        old, new = keys_of(self.before.nodes), keys_of(self.after.nodes)
        changed = {id(change.after): change.before for change in self.permissions}
        moved = {id(change.after) for change in self.moved}
        added = set(map(id, self.edges_added))

        def drawn(edge: Edge) -> Arrow:
            was = changed.get(id(edge))
            change: Change = "added" if id(edge) in added else ""
            if was is not None or id(edge) in moved:
                change = "changed"
            return arrow(edge, new, change, permissions=permissions, was=was)

        gone = [*self.edges_removed, *(change.before for change in self.moved)]
        come = {node.id for node in self.nodes_added}
        return Picture(
            [box(node, new, "added" if node.id in come else "") for node in self.after.nodes]
            + [box(node, old, "removed") for node in self.nodes_removed],
            [drawn(edge) for edge in self.after.edges]
            + [arrow(edge, old, "removed", permissions=permissions) for edge in gone],
            permissions or bool(self.permissions),
            has_changes=True,
        )


def _gained_and_lost(verb: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    if gained := sorted(set(new) - set(old)):
        yield f"{verb} now {', '.join(gained)}"
    if lost := sorted(set(old) - set(new)):
        yield f"{verb} no longer {', '.join(lost)}"


def _count(things: Sequence[object], noun: str, rest: str = "") -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}{rest}"
