# Generated from objects/migration.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.migration.AsyncMigration`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.jobs import MigrationProgress
    from qemu_blocksdk.objects.migration import AsyncMigration
    from qemu_blocksdk.wire import MigrationInfo, MigrationStatus


class Migration(SyncProxy):
    """The migration of a VM's guest to another QEMU, or from another.

    Got from ``vm.migrate()``, ``vm.migrate_incoming()`` or ``vm.attach_migration()``. As a
    context manager it is cancelled on leaving, unless it is over; what is cancelled or
    failed, the source goes on. A destination only ceases to watch.
    """

    @property
    def _async(self) -> AsyncMigration:
        return cast("AsyncMigration", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    @property
    def is_incoming(self) -> bool:
        """Whether the guest comes from another QEMU, not goes to one."""
        return self._async.is_incoming

    @property
    def status(self) -> MigrationStatus:
        """The status that the last event told; ``none`` before the first."""
        return self._async.status

    @property
    def is_over(self) -> bool:
        """Whether the migration has ended, well or not, or QEMU has."""
        return self._async.is_over

    def query_info(self) -> MigrationInfo:
        """Ask how far it is, and how long it took: milliseconds, bytes (``query-migrate``)."""
        return background_loop.run(self._async.query_info())

    def wait(self, *, until: MigrationStatus | None = None, timeout: float | None = None) -> None:
        """Wait until the migration is completed, or ``until`` it has been in a status.

        ``timeout`` is in seconds; the migration goes on when it runs out. The run state may
        change a moment later (:meth:`VM.wait_run_state`). Raises MigrationFailed with
        QEMU's words, MigrationCancelled, StateError when the status was never come to,
        DeadlineExceeded, ConnectionLost (which is how a destination fails, as a rule).
        """
        return background_loop.run(self._async.wait(until=until, timeout=timeout))

    def run(self, *, timeout: float | None = None) -> MigrationInfo:
        """Wait for the end; what does not end in time, or is interrupted, is cancelled.

        That takes CLEANUP_TIMEOUT more at the most. Returns as :meth:`query_info`, raises as
        :meth:`wait`.
        """
        return background_loop.run(self._async.run(timeout=timeout))

    def progress(self, *, interval: float = 0.1) -> Iterator[MigrationProgress]:
        """Yield the progress at once, every ``interval`` seconds, and when it is over.

        QEMU has no event for progress, so this asks. Raises as :meth:`wait`.
        """
        yield from background_loop.iterate(self._async.progress(interval=interval))

    def continue_(self) -> None:
        """Let the guest switch over (``migrate-continue``).

        For a migration that is in ``pre-switchover``, as the capability
        ``pause-before-switchover`` has it. Raises CommandError for another.
        """
        return background_loop.run(self._async.continue_())

    def start_postcopy(self) -> None:
        """Let the guest run at the destination already (``migrate-start-postcopy``).

        Memory follows as it is used; neither side is the guest by itself until the end. Both
        sides need the capability ``postcopy-ram``. Raises CommandError without.
        """
        return background_loop.run(self._async.start_postcopy())

    def cancel(self, *, timeout: float | None = None) -> None:
        """Cancel the migration (``migrate_cancel``) and wait for its end, however it ends.

        One that is over stays as it ended. Raises UsageError at a destination, StateError
        when postcopy has begun, which would kill the guest; DeadlineExceeded, ConnectionLost.
        """
        return background_loop.run(self._async.cancel(timeout=timeout))
