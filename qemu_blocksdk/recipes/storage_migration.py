"""A guest and its disks, moved to another VM that shares no storage with the first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

from qemu_blocksdk.objects import (
    AsyncJob,
    AsyncMigration,
    AsyncNode,
    AsyncOperation,
    AsyncVM,
)
from qemu_blocksdk.objects.names import temporary_name
from qemu_blocksdk.qmp import shielded
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.progress import ToolProgress
from qemu_blocksdk.tools.socket_directory import SocketDirectory
from qemu_blocksdk.wire import (
    BitmapMigrationBitmapAlias,
    BitmapMigrationNodeAlias,
    MigrateSetParameters,
)

from .jobs import Tell, drive_all
from .temporary import temporary_node


class _Disk(NamedTuple):
    source: AsyncNode
    target: AsyncNode


@sealed_class
class AsyncStorageMigration:
    """The move of a VM's guest to another VM on this machine, with its disks and their bitmaps.

    Each disk is mirrored over NBD until it is in step; then the guest moves, and while it
    stands still the mirrors end. So it finds at the target what it left at the source.
    Whatever fails before that is undone, and the guest goes on at the source.
    """

    def __init__(self, source: AsyncVM, target: AsyncVM) -> None:
        """Describe the move of no disk yet.

        The ``target`` has been launched for it (``-incoming defer``), with the same devices.
        """
        self._source = source
        self._target = target
        self._disks: list[_Disk] = []

    def add_disk(self, source: AsyncNode, target: AsyncNode) -> None:
        """Add a disk: its node at the source, and an empty one of that size at the target."""
        self._disks.append(_Disk(source, target))

    async def migrate(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Move; in the end the guest is in the state at the target that it had before.

        Raises MigrationFailed, JobFailed, CommandError, ConnectionLost, DeadlineExceeded.
        """
        await self.start_migrate().run(on_progress=on_progress, timeout=timeout)

    def start_migrate(self) -> AsyncOperation[None]:
        """Start :meth:`migrate`; return it in flight."""
        return AsyncOperation(f"the migration of {self._source!r}", self._move)

    def __repr__(self) -> str:
        return f"<storage migration of {self._source!r} to {self._target!r}>"

    async def _move(self, tell: Tell) -> None:
        await self._prepare()
        async with AsyncExitStack() as stack:
            scratch = SocketDirectory()
            stack.callback(scratch.remove)
            jobs = await self._mirror(stack)
            await drive_all(jobs, lambda job: job.wait(until="ready"), tell)
            uri = f"unix:{scratch.path / 'migration'}"
            incoming = await self._target.migrate_incoming(uri)
            await stack.enter_async_context(incoming)
            migration = await self._source.migrate(uri)
            await stack.enter_async_context(migration)
            await migration.wait(until="pre-switchover")
            await shielded(self._switch_over(jobs, migration, incoming))

    async def _prepare(self) -> None:
        """Tell both sides how they move, and under which names the bitmaps do."""
        bitmaps = await self._source.query_bitmaps()
        for vm, is_source in ((self._source, True), (self._target, False)):
            await vm.set_migration_capabilities(
                {"dirty-bitmaps": True, "pause-before-switchover": True}
            )
            mapping: list[BitmapMigrationNodeAlias] = []
            for number, disk in enumerate(self._disks):
                names = [info.name for info in bitmaps.get(disk.source.name, ()) if info.name]
                mapping.append(
                    BitmapMigrationNodeAlias(
                        node_name=(disk.source if is_source else disk.target).name,
                        alias=f"disk{number}",
                        bitmaps=[
                            BitmapMigrationBitmapAlias(name=name, alias=f"bitmap{index}")
                            for index, name in enumerate(names)
                        ],
                    )
                )
            await vm.set_migration_parameters(MigrateSetParameters(block_bitmap_mapping=mapping))

    async def _mirror(self, stack: AsyncExitStack) -> list[AsyncJob]:
        """Start to mirror each disk to the target, by its NBD server."""
        server = await self._target.start_nbd_server()
        await stack.enter_async_context(server)
        jobs: list[AsyncJob] = []
        for disk in self._disks:
            export = await server.export(disk.target, writable=True)
            await stack.enter_async_context(export)
            options = export.uri.options(node_name=temporary_name(self._source.qmp))
            peer = await stack.enter_async_context(temporary_node(self._source, options))
            job = await disk.source.start_mirror(peer, sync="full")
            jobs.append(await stack.enter_async_context(job))
        return jobs

    async def _switch_over(
        self, jobs: list[AsyncJob], migration: AsyncMigration, incoming: AsyncMigration
    ) -> None:
        """End the mirrors while the guest stands still, and let it go on at the target."""
        for job in jobs:
            await job.cancel(force=False)
            assert job.result is not None
            job.result.check()
        await migration.continue_()
        await migration.wait()
        await incoming.wait()
