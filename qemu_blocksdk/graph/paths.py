"""Paths through the graph: ``/backing/file`` are the names of edges, from a node down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.errors import GraphError, UsageError

from .node import GraphNode, listed

if TYPE_CHECKING:
    from .index import Index

_SHOWN = 6
"""How many steps a message has of either end of a path."""


def resolved(index: Index, start: GraphNode, path: str) -> GraphNode:
    """Return the node at the end of a path. Raises as :meth:`BlockGraph.resolve`."""
    first, *names = path.split("/")
    if first or not names:
        raise UsageError(f"a path begins with a slash: {path!r} does not")
    if "" in names:
        raise UsageError(f"path {path!r} has an empty part")
    node = start
    for number, name in enumerate(names):
        below = index.children.get((node.id, name))
        if below is None:
            raise GraphError(
                f"child {name!r}",
                found=listed(edge.name for edge in node.children),
                path="/".join([str(start), *names[:number]]),
            )
        node = below
    return node


def mismatch(index: Index, root: str, path: str, expected: str | None) -> str:
    """Say how a path leads elsewhere than :meth:`BlockGraph.assert_path` was told, or nothing."""
    first, *names = path.split("/")
    if first:
        return f"the path has to begin with a slash: {path!r}"
    start = index.first.get(root)
    if start is None:
        there = listed(name for name in index.first if name)
        return f"no node {root!r} to begin at; there are: {there}"
    steps: list[GraphNode] = [start]
    for name in names:
        below = index.children.get((steps[-1].id, name))
        if below is None:
            break
        steps.append(below)
    missing = names[len(steps) - 1 :]
    if not missing:
        if steps[-1].name == expected:
            return ""
        what = f"found {steps[-1].name!r}, expected {_quoted(expected)}"
    elif len(missing) > 1:
        what = f"it breaks off at {missing[0]!r}, before its end"
    elif expected is not None:
        what = f"found nothing, expected {expected!r}"
    else:
        return ""
    return f"{root}{path}: {what}\n" + _drawn(steps, names, missing, what)


def _drawn(steps: list[GraphNode], names: list[str], missing: list[str], what: str) -> str:
    """The nodes on the way, a line each, and a mark where it went wrong."""
    lines = [f"  {steps[0].name}"]
    lines += [f"  /{name}: {node}" for name, node in zip(names, steps[1:], strict=False)]
    if len(lines) > 2 * _SHOWN:
        hidden = len(lines) - 2 * _SHOWN
        lines[_SHOWN:-_SHOWN] = [f"  ... {hidden} more ..."]
    if missing:
        lines.append(f"  /{missing[0]}: <-- not there")
        above = steps[-1]
    else:
        lines[-1] += f" <-- {what}"
        above = steps[-2] if names else steps[-1]
    there = listed(f"{edge.name} ({edge.child.name})" for edge in above.children)
    return "\n".join([*lines, f"the children of {above} are: {there}"])


def _quoted(expected: str | None) -> str:
    return "nothing" if expected is None else repr(expected)
