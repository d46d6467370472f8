"""The tables by which a graph's vertices and edges are found. For the other modules here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .node import Edge, GraphNode


class Index:
    """What is where: edges by the ids of their ends, vertices by names."""

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
            number: tuple(found) for number, found in below.items()
        }
        self._above: dict[int, tuple[Edge, ...]] = {
            number: tuple(found) for number, found in above.items()
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
        """Return the edges from a vertex to what it uses."""
        return self._below.get(node.id, ())

    def above(self, node: GraphNode) -> tuple[Edge, ...]:
        """Return the edges to a vertex from what uses it."""
        return self._above.get(node.id, ())

    def child(self, node: GraphNode, name: str) -> GraphNode | None:
        """Return what a vertex uses under a name: the first such, as iotests have it."""
        found = self._children.get(name, {}).get(node.id)
        return None if found is None else self._vertex[found]

    def follow(self, start: GraphNode, names: Sequence[str]) -> tuple[GraphNode, int]:
        """Return how far names lead from child to child: the last vertex, the number of names."""
        children, nothing, here = self._children, dict[int, int](), start.id
        for number, name in enumerate(names):
            below = children.get(name, nothing).get(here)
            if below is None:
                return self._vertex[here], number
            here = below
        return self._vertex[here], len(names)
