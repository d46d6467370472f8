"""What iotests' `assert_block_path` does, written from its specification: a search of the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict


class Vertex(TypedDict):
    """A node of the reply."""

    id: int
    type: str
    name: str


class Edge(TypedDict):
    parent: int
    child: int
    name: str


class Reply(TypedDict):
    """What `x-debug-query-block-graph` returns, as far as the search looks."""

    nodes: Sequence[Vertex]
    edges: Sequence[Edge]


def holds(reply: Reply, root: str, path: str, expected: str | None) -> bool:
    """Say whether the path leads from the root to the node of that name, or None: to nothing."""
    before, *names = path.split("/")
    if before:
        return False
    here = _first(reply["nodes"], "name", root)
    if here is None:
        return False
    for name in names:
        if here is None:
            return False  # only the leaf may be missing
        number = here["id"]
        below = [e for e in reply["edges"] if e["parent"] == number and e["name"] == name]
        here = _first(reply["nodes"], "id", below[0]["child"]) if below else None
    return expected is None if here is None else here["name"] == expected


def _first(nodes: Sequence[Vertex], member: str, value: object) -> Vertex | None:
    for node in nodes:
        found: Mapping[str, object] = node
        if found[member] == value:
            return node
    return None
