"""Migration of a VM's guest: its settings, its start at either side, and the wait for its end."""

from __future__ import annotations

from collections.abc import Mapping

from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.wire import (
    Migrate,
    MigrateIncoming,
    MigrateSetCapabilities,
    MigrateSetParameters,
    MigrationAddress,
    MigrationCapability,
    MigrationCapabilityStatus,
    MigrationChannel,
    MigrationParameters,
    QueryMigrateCapabilities,
    QueryMigrateParameters,
    RunState,
)

from .live import subject
from .migration import AsyncMigration
from .run_state import RunStates


class Migratable(RunStates):
    """The guest of a VM, which may leave for another QEMU or come from one."""

    async def query_migration_capabilities(self) -> dict[MigrationCapability, bool]:
        """Return which capabilities there are and are on (``query-migrate-capabilities``)."""
        found = await self._execute(QueryMigrateCapabilities())
        return {each.capability: each.state for each in found}

    async def set_migration_capabilities(
        self, capabilities: Mapping[MigrationCapability, bool]
    ) -> None:
        """Switch capabilities on or off (``migrate-set-capabilities``); the others stay.

        Both sides need the same, as a rule. Raises CommandError for those that exclude each
        other, and while a migration is in flight.
        """
        wanted = [
            MigrationCapabilityStatus(capability=capability, state=state)
            for capability, state in capabilities.items()
        ]
        await self._execute(MigrateSetCapabilities(capabilities=wanted))

    async def query_migration_parameters(self) -> MigrationParameters:
        """Return the parameters (``query-migrate-parameters``)."""
        return await self._execute(QueryMigrateParameters())

    async def set_migration_parameters(self, parameters: MigrateSetParameters) -> None:
        """Change parameters (``migrate-set-parameters``), also in flight; the others stay.

        ``max_bandwidth`` is in bytes a second, ``downtime_limit`` in milliseconds;
        ``block_bitmap_mapping`` says which bitmaps of which nodes travel, with the capability
        ``dirty-bitmaps``. Raises CommandError for a value out of range.
        """
        await self._execute(parameters)

    async def migrate(self, target: str | MigrationAddress) -> AsyncMigration:
        """Start to migrate the guest to a QEMU that waits for it (``migrate``).

        ``target`` is a URI in QEMU's words (``unix:PATH``, ``tcp:HOST:PORT``), or an address
        as a value (from QEMU 8.2). Raises CommandError when one is in flight, or the guest
        cannot be migrated; what goes wrong later is the migration's to tell.
        """
        if isinstance(target, str):
            command = Migrate(uri=target)
        else:
            command = Migrate(channels=_channels(target))
        return await (await self._new_migration(is_incoming=False))._begin(self._execute(command))

    async def migrate_incoming(
        self, source: str | MigrationAddress, *, exit_on_error: bool | None = None
    ) -> AsyncMigration:
        """Wait for the guest at an address (``migrate-incoming``), as :meth:`migrate` has it.

        For a VM that was launched with ``-incoming defer``. QEMU ends when that fails, unless
        ``exit_on_error`` is off (from QEMU 9.1). Raises CommandError when the address is taken,
        or the VM is not waiting for a guest.
        """
        if isinstance(source, str):
            command = MigrateIncoming(uri=source, exit_on_error=exit_on_error)
        else:
            command = MigrateIncoming(channels=_channels(source), exit_on_error=exit_on_error)
        return await (await self._new_migration(is_incoming=True))._begin(self._execute(command))

    async def attach_migration(self) -> AsyncMigration:
        """Return the migration of the VM, of either direction, that others have started.

        It may be over, or still to come. Raises CommandError for one that goes out already
        and whose events are not on (:meth:`set_migration_capabilities`).
        """
        is_incoming = (await self.query_status()).status == "inmigrate"
        migration = await self._new_migration(is_incoming=is_incoming)
        return await migration._begin(migration._catch_up())

    async def wait_migration(
        self, run_state: RunState | None = None, *, timeout: float | None = None
    ) -> None:
        """Wait until the VM's migration, in either direction, is completed.

        Then also until the guest is in ``run_state``, which may come later. One that is
        completed by now will do. ``timeout`` is in seconds. Raises as
        :meth:`AsyncMigration.wait` and :meth:`attach_migration`.
        """
        async with within(timeout, f"the migration of {subject(self)}"):
            migration = await self.attach_migration()
            try:
                await migration.wait()
            finally:
                await migration._forget()
            if run_state is not None:
                await self.wait_run_state(run_state)

    async def _new_migration(self, *, is_incoming: bool) -> AsyncMigration:
        """Listen to what a migration tells, once QEMU tells it."""
        if not (await self.query_migration_capabilities())["events"]:
            await self.set_migration_capabilities({"events": True})
        return AsyncMigration(self._connection(), is_incoming=is_incoming)


def _channels(address: MigrationAddress) -> list[MigrationChannel]:
    return [MigrationChannel(channel_type="main", addr=address)]
