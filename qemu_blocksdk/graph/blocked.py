"""Who does not let others have a permission on a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError

from .node import Edge, GraphNode

if TYPE_CHECKING:
    from qemu_blocksdk.wire import BlockPermission


class Obstacle(Value):
    """A parent that does not share a permission: ``edge`` is its hold on the node."""

    edge: Edge
    permission: BlockPermission

    @property
    def parent(self) -> GraphNode:
        """Who forbids it: a device, an export, a job, a node."""
        return self.edge.parent

    def __str__(self) -> str:
        edge = self.edge
        return (
            f"{edge.parent} (uses {edge.child} as {edge.name!r}) does not share {self.permission!r}"
        )


def obstacles(node: GraphNode, permission: BlockPermission) -> tuple[Obstacle, ...]:
    """Return what is in the way, as :meth:`BlockGraph.why_blocked`."""
    from qemu_blocksdk.wire import BlockPermission

    known = get_args(BlockPermission)
    if permission not in known:
        raise UsageError(f"there is no permission {permission!r}, but {', '.join(known)}")
    found: list[Obstacle] = []
    seen: set[int] = set()
    above: GraphNode | None = None
    below: GraphNode | None = node
    # A filter takes on what it filters what its parents take on it, as raw does on its file; the
    # one over a commit takes nothing.
    while below is not None and below.id not in seen:
        seen.add(below.id)
        found += [
            Obstacle(edge=edge, permission=permission)
            for edge in below.parents
            if permission not in edge.shared_perm and edge.parent is not above
        ]
        above = below
        if below.driver == "raw":
            below = next((edge.child for edge in below.children if edge.name == "file"), None)
        else:
            below = None if below.driver == "commit_top" else below.filtered
    return tuple(found)
