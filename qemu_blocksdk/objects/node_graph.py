"""What changes a block node, its children and what lies over it. Jobs are in ``node_jobs``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec.filename import qemu_name
from qemu_blocksdk.errors import GraphError, UsageError
from qemu_blocksdk.tools.atomic_write import assert_absent
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.wire import (
    BlockdevOptions,
    BlockdevReopen,
    BlockdevSetActive,
    BlockdevSnapshot,
    BlockdevSnapshotDeleteInternalSync,
    BlockdevSnapshotInternalSync,
    BlockdevSnapshotSync,
    BlockResize,
    ChangeBackingFile,
    NewImageMode,
    SnapshotInfo,
    XBlockdevChange,
)

from .live import subject
from .names import lasting_name
from .node_info import NodeInfo

if TYPE_CHECKING:
    from .node import AsyncNode


class NodeGraph(NodeInfo):
    """The verbs that change a node and its neighbours, at once."""

    async def add_child(self, child: AsyncNode) -> None:
        """Add a child to a quorum (``x-blockdev-change``).

        Raises CommandError for a node that takes none, or a child that is used already.
        """
        await self._execute(XBlockdevChange(parent=self._name, node=child.name))

    async def remove_child(self, name: str) -> None:
        """Take the child of that name (``children.1``) from a quorum (``x-blockdev-change``).

        Raises CommandError when there is none, or the quorum would be below its threshold.
        """
        await self._execute(XBlockdevChange(parent=self._name, child=name))

    async def reopen(self, options: BlockdevOptions) -> None:
        """Open the node with other options (``blockdev-reopen``).

        They replace all that it had, so tell them whole. A child that was defined inside them
        is told inside again, any other by its node name. Raises UsageError for the options of
        another node, CommandError for what cannot be changed; nothing has changed then.
        """
        if sound_name(options) != self._name:
            wrong = options.node_name
            raise UsageError(f"{subject(self)} cannot be opened with the options of {wrong!r}")
        await self._execute(BlockdevReopen(options=[options]))

    async def resize(self, size: int | str) -> None:
        """Make the node ``size`` bytes long (``block_resize``); text is as in ``"64M"``.

        What lies beyond a smaller size is lost. Raises CommandError when the node is read-only
        or its driver cannot.
        """
        await self._execute(BlockResize(node_name=self._name, size=to_bytes(size)))

    async def set_active(self, active: bool) -> None:
        """Let go of an inactive node's image, or take it back (``blockdev-set-active``).

        For a migration over shared storage. From QEMU 10.0, else Unsupported.
        """
        await self._execute(BlockdevSetActive(node_name=self._name, active=active))

    async def change_backing_file(
        self, backing_file: str | os.PathLike[str], *, root: AsyncNode | None = None
    ) -> None:
        """Write another name of the backing file into the image (``change-backing-file``).

        A str is a name in QEMU's syntax (``json:``, a URI), a path object is taken as it is. What
        is open stays as it is. ``root`` is the node at the top of the chain, where that is
        not this one.
        """
        command = ChangeBackingFile(
            device=(root or self).name,
            image_node_name=self._name,
            backing_file=qemu_name(backing_file),
        )
        await self._execute(command)

    # -- snapshots ------------------------------------------------------------------------

    async def snapshot(self, overlay: AsyncNode) -> None:
        """Put an overlay, which has no backing node yet, on the node (``blockdev-snapshot``).

        The node's users are on the overlay then. Raises CommandError when it has one already.
        """
        await self._execute(BlockdevSnapshot(node=self._name, overlay=overlay.name))

    async def snapshot_sync(
        self,
        snapshot_file: str | os.PathLike[str],
        *,
        snapshot_node_name: str | None = None,
        format: str = "qcow2",
        mode: NewImageMode | None = None,
        replace: bool = False,
    ) -> AsyncNode:
        """Put an overlay in a file that QEMU makes on the node (``blockdev-snapshot-sync``).

        ``snapshot_file`` is a str in QEMU's syntax (a URI), or a path object, which is taken as
        it is. A file that is there is used with ``mode="existing"``; to overwrite it, in place,
        takes ``replace``. Returns the overlay, which goes with its last user. Raises UsageError
        for a file that is there, GraphError when the node has no user.
        """
        if mode != "existing":
            assert_absent(snapshot_file, replace=replace)
        # QEMU 7.2 and 10.0: the overlay belongs to the users of the node; without one it is
        # gone as soon as it is made, so we refuse that.
        if not await self.query_parents():
            raise GraphError(f"a user of node {self._name!r}", found="none")
        name = snapshot_node_name or lasting_name(self._qmp, "overlay")
        command = BlockdevSnapshotSync(
            node_name=self._name,
            snapshot_file=qemu_name(snapshot_file),
            snapshot_node_name=name,
            format=format,
            mode=mode,
        )
        await self._execute(command)
        return self._other(name)

    async def snapshot_internal(self, name: str) -> None:
        """Make a snapshot inside the image (``blockdev-snapshot-internal-sync``).

        :meth:`query_info` lists them. Raises CommandError for a name that is taken, a node that
        has other nodes over it, and a format without snapshots.
        """
        await self._execute(BlockdevSnapshotInternalSync(device=self._name, name=name))

    async def delete_internal_snapshot(
        self, name: str | None = None, *, id: str | None = None
    ) -> SnapshotInfo:
        """Delete a snapshot inside the image (``blockdev-snapshot-delete-internal-sync``).

        By its name, its id, or both; returns what it was. Raises CommandError when there is
        none such.
        """
        command = BlockdevSnapshotDeleteInternalSync(device=self._name, name=name, id=id)
        return await self._execute(command)
