"""Matching of two block graphs: which nodes and edges are new, gone, moved or changed.

Ids are valid within one graph only, so vertices are matched by name; an unnamed one by its
children. Edges are matched by parent, name and child, then by two of these three.
``block_graph.GraphDiff`` is the public result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from qemu_blocksdk.codec import Value

from .model import Edge, GraphNode
from .render import keys_of


class EdgeChange(Value):
    """One edge in both graphs."""

    before: Edge
    after: Edge


class Changes(NamedTuple):
    """What differs between two graphs; :class:`GraphDiff` describes the fields."""

    nodes_added: tuple[GraphNode, ...]
    nodes_removed: tuple[GraphNode, ...]
    edges_added: tuple[Edge, ...]
    edges_removed: tuple[Edge, ...]
    moved: tuple[EdgeChange, ...]
    permissions: tuple[EdgeChange, ...]


def changes(
    before: tuple[Sequence[GraphNode], Iterable[Edge]],
    after: tuple[Sequence[GraphNode], Iterable[Edge]],
) -> Changes:
    """Match the nodes and edges of two graphs."""
    old_keys, new_keys = keys_of(before[0]), keys_of(after[0])
    old, new = _keyed(before[1], old_keys), _keyed(after[1], new_keys)
    same = _paired(old, new, by=lambda edge: (edge.parent, edge.name, edge.child))
    moved = _paired(old, new, by=lambda edge: (edge.parent, edge.name))
    moved += _paired(old, new, by=lambda edge: (edge.name, edge.child))
    old_names, new_names = set(old_keys.values()), set(new_keys.values())
    return Changes(
        nodes_added=tuple(node for node in after[0] if new_keys[node.id] not in old_names),
        nodes_removed=tuple(node for node in before[0] if old_keys[node.id] not in new_names),
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


def _keyed(edges: Iterable[Edge], keys: Mapping[int, str]) -> list[_Keyed]:
    return [_Keyed(keys[edge.parent.id], edge.name, keys[edge.child.id], edge) for edge in edges]


def _paired(
    old: list[_Keyed], new: list[_Keyed], *, by: Callable[[_Keyed], tuple[str, ...]]
) -> list[EdgeChange]:
    """Remove from both lists the edges that ``by`` gives the same key, and return them as pairs."""
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
