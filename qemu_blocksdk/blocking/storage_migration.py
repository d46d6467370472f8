# Generated from recipes/storage_migration.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.recipes.storage_migration.AsyncStorageMigration`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.recipes.storage_migration import AsyncStorageMigration

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from qemu_blocksdk.tools.progress import ToolProgress

    from .node import Node
    from .operation import Operation
    from .vm import VM


class StorageMigration(SyncProxy):
    """The move of a VM's guest to another VM on this machine, with its disks and their bitmaps.

    Each disk is mirrored over NBD until it is in step; then the guest moves, and while it
    stands still the mirrors end. So it finds at the target what it left at the source.
    Whatever fails before that is undone, and the guest goes on at the source.
    """

    @property
    def _async(self) -> AsyncStorageMigration:
        return cast("AsyncStorageMigration", self._reach())

    def __init__(self, source: VM, target: VM) -> None:
        """Describe the move of no disk yet.

        The ``target`` has been launched for it (``-incoming defer``), with the same devices.
        """
        self._hold(background_loop.call(
            lambda: AsyncStorageMigration(source._async, target._async)
        ))

    def add_disk(self, source: Node, target: Node) -> None:
        """Add a disk: its node at the source, and an empty one of that size at the target."""
        return background_loop.call(lambda: self._async.add_disk(source._async, target._async))

    def migrate(
        self,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Move; in the end the guest is in the state at the target that it had before.

        Raises MigrationFailed, JobFailed, CommandError, ConnectionLost, DeadlineExceeded.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.migrate(
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_migrate(self) -> Operation[None]:
        """Start :meth:`migrate`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_migrate()
        )))
