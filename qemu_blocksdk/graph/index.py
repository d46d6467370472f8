"""The tables by which a graph's vertices and edges are found. For the other modules here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .node import Edge, GraphNode


class Index:
    """What is where: edges by the ids of their ends, vertices by names."""

    def __init__(self, nodes: Iterable[GraphNode], edges: Iterable[Edge]) -> None:
        below: dict[int, list[Edge]] = defaultdict(list)
        above: dict[int, list[Edge]] = defaultdict(list)
        self.children: dict[tuple[int, str], GraphNode] = {}
        """What each vertex uses under each name, by its id: the first such, as iotests have it."""
        for edge in edges:
            parent = edge.parent.id
            below[parent].append(edge)
            above[edge.child.id].append(edge)
            self.children.setdefault((parent, edge.name), edge.child)
        self._below: dict[int, tuple[Edge, ...]] = {
            number: tuple(found) for number, found in below.items()
        }
        self._above: dict[int, tuple[Edge, ...]] = {
            number: tuple(found) for number, found in above.items()
        }
        self.first: dict[str, GraphNode] = {}
        """The first vertex of each name in QEMU's reply."""
        named: dict[str, list[GraphNode]] = defaultdict(list)
        for node in nodes:
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
        """Return what a vertex uses under a name."""
        return self.children.get((node.id, name))
