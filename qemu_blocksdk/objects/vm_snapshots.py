"""Snapshots of a whole machine: its state and its disks, inside their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qemu_blocksdk import wire  # whose domains load when they are used, thus not at import

from .job import AsyncJob
from .live import Live
from .names import temporary_name
from .node import AsyncNode

if TYPE_CHECKING:
    from qemu_blocksdk.codec import Command
    from qemu_blocksdk.wire import JobType


class VmSnapshots(Live):
    """The verbs of a machine's snapshots. What goes wrong is the job's to tell."""

    async def save_snapshot(
        self,
        tag: str,
        *,
        vmstate: AsyncNode,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start to save the machine into ``vmstate`` and a snapshot of each of the ``nodes``.

        All are qcow2, none is over another (``snapshot-save``). The guest stands still
        meanwhile. The job fails when there is a snapshot of that tag.
        """
        job_id = job_id or temporary_name(self._connection())
        command = wire.SnapshotSave(
            job_id=job_id, tag=tag, vmstate=vmstate.name, devices=[node.name for node in nodes]
        )
        return await self._start("snapshot-save", command, job_id)

    async def load_snapshot(
        self,
        tag: str,
        *,
        vmstate: AsyncNode,
        nodes: Sequence[AsyncNode],
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start to bring machine and disks back to a snapshot (``snapshot-load``).

        What was written since is lost.
        """
        job_id = job_id or temporary_name(self._connection())
        command = wire.SnapshotLoad(
            job_id=job_id, tag=tag, vmstate=vmstate.name, devices=[node.name for node in nodes]
        )
        return await self._start("snapshot-load", command, job_id)

    async def delete_snapshot(
        self, tag: str, *, nodes: Sequence[AsyncNode], job_id: str | None = None
    ) -> AsyncJob:
        """Start to delete a snapshot from those of the nodes that have it (``snapshot-delete``)."""
        job_id = job_id or temporary_name(self._connection())
        command = wire.SnapshotDelete(job_id=job_id, tag=tag, devices=[node.name for node in nodes])
        return await self._start("snapshot-delete", command, job_id)

    async def _start(self, kind: JobType, command: Command[None], job_id: str) -> AsyncJob:
        return await AsyncJob._start(self, command, job_id=job_id, kind=kind)
