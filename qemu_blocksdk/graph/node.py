"""The vertices and edges of a block graph. How they are put together is in ``replies``.

A node asks the index of its graph for its edges: nothing here is nested, so that a chain of any
length can be copied, compared and pickled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

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

    from .index import Index

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
"""The filter drivers, each with the name of the child whose data it passes on."""

_PERIPHERAL = "/machine/peripheral/"


class GraphNode(Value):
    """A vertex: a block node, or a parent of one: the backend of a device or export, or a job.

    ``id`` is QEMU's number for this picture only. The others are what QEMU's lists have of it:
    ``info`` of a block node, ``device`` of a backend that ``query-block`` lists, ``job``,
    ``export``. QEMU does not say whose an unnamed backend is: it has an ``export`` where it can
    be no other's, else ``candidates`` says what it may be (``job 'm'``).
    """

    id: int
    type: XDbgBlockGraphNodeType
    name: str
    info: BlockDeviceInfo | None = None
    device: BlockInfo | None = None
    job: JobInfo | None = None
    export: BlockExportInfo | None = None
    candidates: Sequence[str] = ()

    # -- what it is -----------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """``node``, ``device``, ``export``, ``job``, ``backend``, or a type that is new in QEMU."""
        if self.type == "block-backend":
            if self.export is not None:
                return "export"
            is_device = self._qdev.startswith("/") or (self.device and self.device.qdev)
            return "device" if is_device else "backend"
        return {"block-driver": "node", "block-job": "job"}.get(self.type, self.type)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that the graph knows it by, the shortest of a device first."""
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
        """The driver of a block node."""
        return None if self.info is None else self.info.drv

    @property
    def filename(self) -> str | None:
        """The file name of a block node; a ``json:`` one where it has no other."""
        return None if self.info is None else self.info.file

    @property
    def read_only(self) -> bool | None:
        """Whether a block node cannot be written to."""
        return None if self.info is None else self.info.ro

    @property
    def virtual_size(self) -> int | None:
        """Bytes that a block node stands for."""
        return None if self.info is None else self.info.image.virtual_size

    @property
    def _qdev(self) -> str:
        """The id of the device on a backend, or its QOM path."""
        return (self.device and self.device.qdev) or self.name

    # -- its place ------------------------------------------------------------------------

    @property
    def children(self) -> tuple[Edge, ...]:
        """The edges to what it uses, in QEMU's order."""
        return self._index.below(self)

    @property
    def parents(self) -> tuple[Edge, ...]:
        """The edges from what uses it: nodes, devices, exports, jobs."""
        return self._index.above(self)

    def child(self, name: str) -> GraphNode:
        """Return what it uses under a name (``backing``, ``children.0``). Raises GraphError."""
        if "/" in name:
            raise UsageError(f"{name!r} is no name of a child; resolve() follows a path")
        found = self._index.child(self, name)
        if found is None:
            there = listed(edge.name for edge in self.children)
            raise GraphError(f"child {name!r}", found=there, path=str(self))
        return found

    @property
    def descendants(self) -> tuple[GraphNode, ...]:
        """All that it uses, also through others: each once, the nearest first."""
        return _reached(self, lambda node: (edge.child for edge in node.children))

    @property
    def ancestors(self) -> tuple[GraphNode, ...]:
        """All that uses it, also through others: each once, the nearest first."""
        return _reached(self, lambda node: (edge.parent for edge in node.parents))

    @property
    def next_in_chain(self) -> GraphNode | None:
        """What its data is on: the backing node, or of a filter what it filters."""
        below = self._index.child(self, "backing")
        return self.filtered if below is None else below

    @property
    def filtered(self) -> GraphNode | None:
        """What a filter passes on, or what a backend is of; None for all else."""
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
    """``parent`` uses ``child`` under ``name`` with ``perm``, and tolerates ``shared_perm``."""

    parent: GraphNode
    child: GraphNode
    name: str
    perm: Sequence[BlockPermission]
    shared_perm: Sequence[BlockPermission]

    def __str__(self) -> str:
        return f"{self.parent} -{self.name}-> {self.child}"


def listed(names: Iterable[str]) -> str:
    """Return names as an error tells what there is: ten at the most."""
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
