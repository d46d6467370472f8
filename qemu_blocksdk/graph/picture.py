"""What a picture of a graph shows, before it is written in any language of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from qemu_blocksdk.codec import masked
from qemu_blocksdk.terminal import escaped

from .node import FILTERED, Edge, GraphNode

if TYPE_CHECKING:
    from .model import BlockGraph

Change = Literal["", "added", "removed", "changed"]
LETTERS = {"consistent-read": "r", "write": "w", "write-unchanged": "u", "resize": "s"}
KINDS = {
    "device": "device",
    "export": "export",
    "job": "job",
    "other": "other user",
    "node": "block node",
    "filter": "filter",
    "storage": "storage",
}
"""The kinds of boxes, in words; a block node without children is storage."""
_LONGEST = 32


class Box(NamedTuple):
    """A vertex. Boxes of two pictures that have one ``key`` are the same one."""

    key: str
    kind: str
    title: str
    detail: str
    more: str
    change: Change = ""

    @property
    def lines(self) -> list[str]:
        """What is written in it; of a long file name, the end."""
        more = self.more if len(self.more) <= _LONGEST else "…" + self.more[1 - _LONGEST :]
        return [line for line in (self.title, self.detail, more) if line]


class Arrow(NamedTuple):
    """An edge, by the keys of its ends."""

    parent: str
    child: str
    label: str
    change: Change = ""


class Picture(NamedTuple):
    """Boxes and arrows; ``has_changes`` colours them by what changed, else by what they are."""

    boxes: list[Box]
    arrows: list[Arrow]
    has_permissions: bool
    has_changes: bool = False

    @property
    def notes(self) -> str:
        """What the letters of the permissions mean, where there are some."""
        letters = ", ".join(f"{letter} {name}" for name, letter in LETTERS.items())
        return f"holds/shares: {letters}" if self.has_permissions else ""


def keys_of(graph: BlockGraph) -> Mapping[int, str]:
    """Return what each vertex is called, also in another picture, by its id in this one."""
    keys: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for node in graph.nodes:
        key = str(node)
        if not node.names:
            key = f"unnamed {node.kind} of {', '.join(str(edge.child) for edge in node.children)}"
        seen[key] += 1
        keys[node.id] = key if seen[key] == 1 else f"{key} ({seen[key]})"
    return keys


def picture_of(graph: BlockGraph, *, permissions: bool) -> Picture:
    """Return the picture of a graph."""
    keys = keys_of(graph)
    return Picture(
        [box(node, keys) for node in graph.nodes],
        [arrow(edge, keys, permissions=permissions) for edge in graph.edges],
        permissions,
    )


def box(node: GraphNode, keys: Mapping[int, str], change: Change = "") -> Box:
    """Return the box of a vertex."""
    return Box(
        key=printable(keys[node.id]),
        kind=_kind(node),
        title=printable(node.names[0]) if node.names else "unnamed",
        detail=printable(_detail(node)),
        more=printable(_more(node)),
        change=change,
    )


def arrow(
    edge: Edge,
    keys: Mapping[int, str],
    change: Change = "",
    *,
    permissions: bool,
    was: Edge | None = None,
) -> Arrow:
    """Return the arrow of an edge; permissions that changed since it ``was`` are always shown."""
    label = printable(edge.name)
    if was is not None:
        label += f" {granted(was)} → {granted(edge)}"
    elif permissions:
        label += f" {granted(edge)}"
    return Arrow(printable(keys[edge.parent.id]), printable(keys[edge.child.id]), label, change)


def granted(edge: Edge) -> str:
    """Return what an edge holds and shares, in letters: ``rw/rwus``."""
    return "/".join(
        "".join(letter for name, letter in LETTERS.items() if name in names) or "-"
        for names in (edge.perm, edge.shared_perm)
    )


def printable(text: str) -> str:
    """Return text in which no character moves the cursor or ends a line."""
    return escaped(text, keep="")


def _kind(node: GraphNode) -> str:
    if node.kind == "node":
        return "filter" if node.driver in FILTERED else "node" if node.children else "storage"
    return node.kind if node.kind in KINDS else "other"


def _detail(node: GraphNode) -> str:
    if node.info is not None:
        return node.info.drv + (", read-only" if node.read_only else "")
    if node.job is not None:
        return f"{node.job.type} job, {node.job.status}"
    if node.export is not None:
        return f"{node.export.type} export"
    return "device" if node.kind == "device" else node.type


def _more(node: GraphNode) -> str:
    if node.candidates:
        return f"perhaps of {' or '.join(node.candidates)}"
    file = node.filename or ""
    return "" if node.children or file.startswith("json:") else masked(file)
