"""What iotests' `assert_block_path` does, written from its specification: a search of the reply.

The peer of the rows on the graph, and the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Vertex(TypedDict):
    """A node of the reply."""

    id: int
    type: str
    name: str


class Edge(TypedDict):
    """An edge of the reply, without its permissions."""

    parent: int
    child: int
    name: str


class Reply(TypedDict):
    """What `x-debug-query-block-graph` returns, as far as the search looks."""

    nodes: Sequence[Vertex]
    edges: Sequence[Edge]


def leads_to(reply: Reply, root: str, path: str, expected: str | None) -> bool:
    """Say whether the path leads from the root to the node of that name; None: to nothing."""
    before, *names = path.split("/")
    here = next((node for node in reply["nodes"] if node["name"] == root), None)
    if before or here is None:
        return False
    for name in names:
        if here is None:
            return False  # only the leaf may be missing
        number = here["id"]
        below = next(
            (e["child"] for e in reply["edges"] if e["parent"] == number and e["name"] == name),
            None,
        )
        here = next((node for node in reply["nodes"] if node["id"] == below), None)
    return expected is None if here is None else here["name"] == expected
