"""The parts of a block graph: nodes, edges, and the index that finds them.

A node keeps no references to other nodes. It looks its edges up in the index of its graph, so a
chain of any length can be copied, compared and pickled without recursion.
``block_graph`` puts the parts together; this module imports no other of the package ``graph``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, get_args

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import GraphError, UsageError

if TYPE_CHECKING:
    from qemu_blocksdk.wire import (
        BlockDeviceInfo,
        BlockExportInfo,
        BlockInfo,
        BlockPermission,
        JobInfo,
        XDbgBlockGraphNodeType,
    )

FILTERED = {
    "blkdebug": "image",
    "blklogwrites": "file",
    "blkreplay": "image",
    "blkverify": "raw",
    "commit_top": "backing",
    "compress": "file",
    "copy-before-write": "file",
    "copy-on-read": "file",
    "mirror_top": "backing",
    "preallocate": "file",
    "replication": "file",
    "throttle": "file",
}
"""The filter drivers, each with the name of the child that it filters."""

_PERIPHERAL = "/machine/peripheral/"


class Index:
    """Lookup tables of one graph: edges by the ids of their ends, vertices by their names."""

    def __init__(self, nodes: Iterable[GraphNode], edges: Iterable[Edge]) -> None:
        below: dict[int, list[Edge]] = defaultdict(list)
        above: dict[int, list[Edge]] = defaultdict(list)
        children: dict[str, dict[int, int]] = defaultdict(dict)
        for edge in edges:
            parent, child = edge.parent.id, edge.child.id
            below[parent].append(edge)
            above[child].append(edge)
            children[edge.name].setdefault(parent, child)
        self._children: dict[str, dict[int, int]] = dict(children)
        self._below: dict[int, tuple[Edge, ...]] = {
            vertex: tuple(found) for vertex, found in below.items()
        }
        self._above: dict[int, tuple[Edge, ...]] = {
            vertex: tuple(found) for vertex, found in above.items()
        }
        self.first: dict[str, GraphNode] = {}
        """The first vertex of each name in QEMU's reply."""
        self._vertex: dict[int, GraphNode] = {}
        named: dict[str, list[GraphNode]] = defaultdict(list)
        for node in nodes:
            self._vertex[node.id] = node
            self.first.setdefault(node.name, node)
            for name in node.names:
                named[name].append(node)
        self.named: dict[str, list[GraphNode]] = dict(named)
        """The vertices by :attr:`GraphNode.names`."""

    def below(self, node: GraphNode) -> tuple[Edge, ...]:
        """Return the edges from a vertex to its children."""
        return self._below.get(node.id, ())

    def above(self, node: GraphNode) -> tuple[Edge, ...]:
        """Return the edges to a vertex from its parents."""
        return self._above.get(node.id, ())

    def child(self, node: GraphNode, name: str) -> GraphNode | None:
        """Return the first child of a vertex under an edge name, or None."""
        found = self._children.get(name, {}).get(node.id)
        return None if found is None else self._vertex[found]

    def follow(self, start: GraphNode, names: Sequence[str]) -> tuple[GraphNode, int]:
        """Follow edge names downwards; return the last vertex and how many names led to it."""
        children, nothing, here = self._children, dict[int, int](), start.id
        for number, name in enumerate(names):
            below = children.get(name, nothing).get(here)
            if below is None:
                return self._vertex[here], number
            here = below
        return self._vertex[here], len(names)


class GraphNode(Value):
    """A vertex of the graph: a block node, or a user of one (block backend or job).

    ``id`` is QEMU's number; it is valid within one graph only. ``info`` is the entry of a block
    node in ``query-named-block-nodes``, ``device`` that of a backend in ``query-block``, ``job``
    that in ``query-jobs``, ``export`` that in ``query-block-exports``; each is None where there
    is none. QEMU does not report the owner of an unnamed backend. It gets an ``export`` if no
    other owner is possible; otherwise ``candidates`` lists the possible owners (``job 'm'``).
    """

    id: int
    type: XDbgBlockGraphNodeType
    name: str
    info: BlockDeviceInfo | None = None
    device: BlockInfo | None = None
    job: JobInfo | None = None
    export: BlockExportInfo | None = None
    candidates: Sequence[str] = ()

    # -- properties -----------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """``node``, ``device``, ``export``, ``job``, ``backend``, or a type not known here."""
        if self.type == "block-backend":
            if self.export is not None:
                return "export"
            is_device = self._qdev.startswith("/") or (self.device and self.device.qdev)
            return "device" if is_device else "backend"
        return {"block-driver": "node", "block-job": "job"}.get(self.type, self.type)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that find it in the graph; for a device the shortest one first."""
        if self.type != "block-backend":
            return (self.name,) if self.name else ()
        if self.export is not None:
            return (self.export.id,)
        path = self._qdev
        inside = path.removeprefix(_PERIPHERAL).partition("/")[0]
        device = inside if path.startswith(_PERIPHERAL) else path
        return tuple(dict.fromkeys(name for name in (device, self.name, path) if name))

    @property
    def driver(self) -> str | None:
        """The driver of a block node; None for other vertices."""
        return None if self.info is None else self.info.drv

    @property
    def filename(self) -> str | None:
        """The file name of a block node, possibly a ``json:`` one; None for other vertices."""
        return None if self.info is None else self.info.file

    @property
    def read_only(self) -> bool | None:
        """Whether a block node is read-only; None for other vertices."""
        return None if self.info is None else self.info.ro

    @property
    def virtual_size(self) -> int | None:
        """The virtual size of a block node in bytes; None for other vertices."""
        return None if self.info is None else self.info.image.virtual_size

    @property
    def _qdev(self) -> str:
        """The id of the device on a backend, or its QOM path."""
        return (self.device and self.device.qdev) or self.name

    # -- neighbours ------------------------------------------------------------------------

    @property
    def children(self) -> tuple[Edge, ...]:
        """The edges to its children, in QEMU's order."""
        return self._index.below(self)

    @property
    def parents(self) -> tuple[Edge, ...]:
        """The edges from its parents: nodes, devices, exports, jobs."""
        return self._index.above(self)

    def child(self, name: str) -> GraphNode:
        """Return the child under an edge name (``file``, ``backing``, ``children.0``).

        Raises GraphError, which lists the children, where there is no such child; UsageError for a
        path (use :meth:`BlockGraph.resolve`).
        """
        if "/" in name:
            raise UsageError(f"{name!r} is a path, not the name of a child: use graph.resolve()")
        found = self._index.child(self, name)
        if found is None:
            there = listed(edge.name for edge in self.children)
            raise GraphError(f"child {name!r}", found=there, path=str(self))
        return found

    @property
    def descendants(self) -> tuple[GraphNode, ...]:
        """All direct and indirect children, each once, the nearest first."""
        return _reached(self, lambda node: (edge.child for edge in node.children))

    @property
    def ancestors(self) -> tuple[GraphNode, ...]:
        """All direct and indirect parents, each once, the nearest first."""
        return _reached(self, lambda node: (edge.parent for edge in node.parents))

    @property
    def next_in_chain(self) -> GraphNode | None:
        """The backing node, or the filtered node of a filter; None at the end of the chain."""
        below = self._index.child(self, "backing")
        return self.filtered if below is None else below

    @property
    def filtered(self) -> GraphNode | None:
        """The filtered child of a filter, the root node of a backend; None for other vertices."""
        name = "root" if self.type == "block-backend" else FILTERED.get(self.driver or "")
        return None if name is None else self._index.child(self, name)

    @property
    def _index(self) -> Index:
        index: Index = vars(self)["_found_by"]
        return index

    def __str__(self) -> str:
        if self.names:
            return f"{self.kind} {self.names[0]!r}"
        perhaps = f" (perhaps of {' or '.join(self.candidates)})" if self.candidates else ""
        return f"unnamed {self.kind}{perhaps}"

    def __repr__(self) -> str:
        return f"<{self}>"


class Edge(Value):
    """A connection: ``parent`` uses ``child`` under the edge name ``name``.

    ``perm`` are the permissions that the parent holds on the child, ``shared_perm`` those that it
    lets other parents hold.
    """

    parent: GraphNode
    child: GraphNode
    name: str
    perm: Sequence[BlockPermission]
    shared_perm: Sequence[BlockPermission]

    def __str__(self) -> str:
        return f"{self.parent} -{self.name}-> {self.child}"


class Blocker(Value):
    """A parent that does not share ``permission``; ``edge`` connects it to the node."""

    edge: Edge
    permission: BlockPermission

    @property
    def parent(self) -> GraphNode:
        """The parent: a device, an export, a job or a node."""
        return self.edge.parent

    def __str__(self) -> str:
        edge = self.edge
        return (
            f"{edge.parent} (uses {edge.child} as {edge.name!r}) does not share {self.permission!r}"
        )


def blockers(node: GraphNode, permission: BlockPermission) -> tuple[Blocker, ...]:
    """Return the parents that do not share a permission: :meth:`BlockGraph.why_blocked`."""
    from qemu_blocksdk.wire import BlockPermission

    known = get_args(BlockPermission)
    if permission not in known:
        raise UsageError(f"no permission {permission!r}: expected one of {', '.join(known)}")
    found: list[Blocker] = []
    seen: set[int] = set()
    above: GraphNode | None = None
    below: GraphNode | None = node
    # A filter takes on its child the permissions that its parents take on the filter, and so does
    # raw on its file. commit_top takes none.
    while below is not None and below.id not in seen:
        seen.add(below.id)
        found += [
            Blocker(edge=edge, permission=permission)
            for edge in below.parents
            if permission not in edge.shared_perm and edge.parent is not above
        ]
        above = below
        if below.driver == "raw":
            below = next((edge.child for edge in below.children if edge.name == "file"), None)
        else:
            below = None if below.driver == "commit_top" else below.filtered
    return tuple(found)


def listed(names: Iterable[str]) -> str:
    """Return names as one line for an error message: the first ten, and how many more."""
    names = sorted(names)
    more = f" and {len(names) - 10} more" if names[10:] else ""
    return (", ".join(names[:10]) or "none") + more


def _reached(
    start: GraphNode, step: Callable[[GraphNode], Iterable[GraphNode]]
) -> tuple[GraphNode, ...]:
    seen = {start.id: start}
    waiting = deque([start])
    while waiting:
        for node in step(waiting.popleft()):
            if node.id not in seen:
                seen[node.id] = node
                waiting.append(node)
    return tuple(seen.values())[1:]
