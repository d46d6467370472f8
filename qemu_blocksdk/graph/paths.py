"""Paths through the graph, such as ``/backing/file``: edge names from a node downwards."""

from __future__ import annotations

from qemu_blocksdk.errors import GraphError, UsageError

from .model import GraphNode, Index, listed

_SHOWN = 6
"""How many steps of each end of a path an error shows."""


def resolved(index: Index, start: GraphNode, path: str) -> GraphNode:
    """Return the node at the end of a path; see :meth:`BlockGraph.resolve`."""
    first, *names = path.split("/")
    if first or not names:
        raise UsageError(f"a path has to begin with a slash: {path!r}")
    if "" in names:
        raise UsageError(f"path {path!r} has an empty part")
    node, number = index.follow(start, names)
    if number < len(names):
        raise GraphError(
            f"child {names[number]!r}",
            found=listed(edge.name for edge in node.children),
            path="/".join([str(start), *names[:number]]),
        )
    return node


def mismatch(index: Index, root: str, path: str, expected: str | None) -> str:
    """Return why a path does not end as :meth:`BlockGraph.assert_path` expects, or ""."""
    first, *names = path.split("/")
    if first:
        return f"the path has to begin with a slash: {path!r}"
    start = index.first.get(root)
    if start is None:
        there = listed(name for name in index.first if name)
        return f"no node {root!r} to begin at; there are: {there}"
    end, number = index.follow(start, names)
    missing = names[number:]
    if not missing:
        if end.name == expected:
            return ""
        what = f"found {end.name!r}, expected {'nothing' if expected is None else repr(expected)}"
    elif len(missing) > 1:
        what = f"it breaks off at {missing[0]!r}, before its end"
    elif expected is not None:
        what = f"found nothing, expected {expected!r}"
    else:
        return ""
    return f"{root}{path}: {what}\n" + _drawn(start, names[:number], missing, what)


def _drawn(start: GraphNode, names: list[str], missing: list[str], what: str) -> str:
    """Return the nodes along the path, a line each, with a mark where it differs."""
    above = node = start
    lines = [f"  {start.name}"]
    for name in names:
        above, node = node, node.child(name)
        lines.append(f"  /{name}: {node}")
    if len(lines) > 2 * _SHOWN:
        hidden = len(lines) - 2 * _SHOWN
        lines[_SHOWN:-_SHOWN] = [f"  ... {hidden} more ..."]
    if missing:
        lines.append(f"  /{missing[0]}: <-- not there")
        above = node
    else:
        lines[-1] += f" <-- {what}"
    there = listed(f"{edge.name} ({edge.child.name})" for edge in above.children)
    return "\n".join([*lines, f"the children of {above} are: {there}"])
