"""What differs between two pictures of a block graph.

The ids of a picture mean nothing in another, so vertices are matched by what they are called;
an unnamed one by what it uses. Edges are matched by their ends and name, then by two of these
three.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from qemu_blocksdk.codec import Value

from .node import Edge, GraphNode
from .picture import Arrow, Change, Picture, arrow, box, keys_of
from .pictured import Pictured

if TYPE_CHECKING:
    from .model import BlockGraph


class EdgeChange(Value):
    """One edge in both pictures."""

    before: Edge
    after: Edge


class GraphDiff(Pictured, Value):
    """What has come, gone and changed. True when anything has; ``str()`` says it, a line each.

    ``moved`` are edges of one name that have another child (``disk`` has another ``backing``), or
    another parent. ``permissions`` are those that are where they were, and hold or share others.
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
        return "\n".join(self._words()) or "no difference"

    def _words(self) -> Iterator[str]:
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
        old, new = keys_of(self.before), keys_of(self.after)
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


def difference(before: BlockGraph, after: BlockGraph) -> GraphDiff:
    """Return what differs, as :meth:`BlockGraph.diff`."""
    old_keys, new_keys = keys_of(before), keys_of(after)
    old, new = _keyed(before, old_keys), _keyed(after, new_keys)
    same = _paired(old, new, by=lambda edge: (edge.parent, edge.name, edge.child))
    moved = _paired(old, new, by=lambda edge: (edge.parent, edge.name))
    moved += _paired(old, new, by=lambda edge: (edge.name, edge.child))
    old_names, new_names = set(old_keys.values()), set(new_keys.values())
    return GraphDiff(
        before=before,
        after=after,
        nodes_added=tuple(node for node in after.nodes if new_keys[node.id] not in old_names),
        nodes_removed=tuple(node for node in before.nodes if old_keys[node.id] not in new_names),
        edges_added=tuple(each.edge for each in new),
        edges_removed=tuple(each.edge for each in old),
        moved=tuple(moved),
        permissions=tuple(
            pair
            for pair in same
            if set(pair.before.perm) != set(pair.after.perm)
            or set(pair.before.shared_perm) != set(pair.after.shared_perm)
        ),
    )


class _Keyed(NamedTuple):
    parent: str
    name: str
    child: str
    edge: Edge


def _keyed(graph: BlockGraph, keys: Mapping[int, str]) -> list[_Keyed]:
    return [
        _Keyed(keys[edge.parent.id], edge.name, keys[edge.child.id], edge) for edge in graph.edges
    ]


def _paired(
    old: list[_Keyed], new: list[_Keyed], *, by: Callable[[_Keyed], tuple[str, ...]]
) -> list[EdgeChange]:
    """Take from both lists what is one by some of its parts."""
    waiting: dict[tuple[str, ...], list[_Keyed]] = defaultdict(list)
    for each in reversed(old):
        waiting[by(each)].append(each)
    pairs: list[EdgeChange] = []
    left: list[_Keyed] = []
    for each in new:
        if found := waiting[by(each)]:
            pairs.append(EdgeChange(before=found.pop().edge, after=each.edge))
        else:
            left.append(each)
    new[:] = left
    kept = {id(each) for found in waiting.values() for each in found}
    old[:] = [each for each in old if id(each) in kept]
    return pairs


def _gained_and_lost(verb: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    if gained := sorted(set(new) - set(old)):
        yield f"{verb} now {', '.join(gained)}"
    if lost := sorted(set(old) - set(new)):
        yield f"{verb} no longer {', '.join(lost)}"
