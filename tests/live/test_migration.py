"""Migration between two VMs of the test: its way, its end at either side, its settings."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Migration
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    MigrationCancelled,
    MigrationFailed,
    StateError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.wire import (
    BitmapMigrationBitmapAlias,
    BitmapMigrationNodeAlias,
    MigrateSetParameters,
    MigrationAddressSocketUnix,
)

pytestmark = pytest.mark.timeout(40)

_SLOW = MigrateSetParameters(max_bandwidth=1000)
_DEFER = ("-incoming", "defer")


@pytest.fixture
def source() -> Iterator[VM]:
    """A VM whose guest runs."""
    with VM(machine="pc", args=("-m", "64M")) as vm:
        yield vm


@pytest.fixture
def target() -> Iterator[VM]:
    """A VM that waits for a guest."""
    with VM(machine="pc", args=("-m", "64M", *_DEFER)) as vm:
        yield vm


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    """Where they meet. A QEMU that dies there leaves its socket."""
    path = tmp_path / "migration"
    yield f"unix:{path}"
    path.unlink(missing_ok=True)


def _slowly(source: VM, target: VM, uri: str) -> tuple[Migration, Migration]:
    """A migration that takes long, and its other side, once both are active."""
    source.set_migration_parameters(_SLOW)
    incoming = target.migrate_incoming(uri)
    migration = source.migrate(uri)
    migration.wait(until="active", timeout=10)
    return migration, incoming


def test_a_guest_goes_on_at_the_target_and_stands_still_at_its_source(
    source: VM, target: VM, uri: str
) -> None:
    incoming = target.migrate_incoming(uri)
    assert (incoming.is_incoming, incoming.status, incoming.is_over) == (True, "setup", False)
    info = source.migrate(uri).run(timeout=20)
    assert info.status == "completed"
    assert info.total_time is not None
    incoming.wait(timeout=10)
    source.wait_run_state("postmigrate", timeout=5)
    target.wait_run_state("running", timeout=5)


def test_both_sides_can_be_waited_for_by_who_did_not_start_it(
    source: VM, target: VM, uri: str
) -> None:
    target.qmp.execute_raw("migrate-incoming", {"uri": uri})

    async def both() -> None:
        waiting = asyncio.ensure_future(target._async.wait_migration("running", timeout=20))
        await source._async.set_migration_capabilities({"events": True})
        await source.qmp._async.execute_raw("migrate", {"uri": uri})
        await source._async.wait_migration("postmigrate", timeout=20)
        await waiting

    background_loop.run(both())
    source.wait_migration("postmigrate", timeout=5)  # what is over will do


def test_the_async_objects_migrate_as_well(uri: str) -> None:
    async def scenario() -> None:
        args = ("-m", "64M")
        async with (
            AsyncVM(machine="pc", args=args) as source,
            AsyncVM(machine="pc", args=(*args, *_DEFER)) as target,
        ):
            incoming = await target.migrate_incoming(uri)
            await (await source.migrate(uri)).run(timeout=20)
            await incoming.wait(timeout=10)

    asyncio.run(scenario())


def test_a_guest_comes_home_by_a_second_migration(source: VM, target: VM, uri: str) -> None:
    target.migrate_incoming(uri)
    source.migrate(uri).run(timeout=20)
    target.wait_migration("running", timeout=10)
    with VM(machine="pc", args=("-m", "64M", *_DEFER)) as home:
        incoming = home.migrate_incoming(f"{uri}-home")
        target.migrate(f"{uri}-home").run(timeout=20)
        incoming.wait(timeout=10)
        home.wait_run_state("running", timeout=5)


def test_a_paused_guest_arrives_paused(source: VM, target: VM, uri: str) -> None:
    source.pause()
    target.migrate_incoming(uri)
    source.migrate(uri).run(timeout=20)
    source.wait_run_state("postmigrate", timeout=5)
    target.wait_migration("paused", timeout=10)


def test_bitmaps_travel_under_their_aliases(source: VM, target: VM, uri: str) -> None:
    for vm, node, bitmaps in ((source, "here", ("b0", "stays")), (target, "there", ())):
        added = vm.add_node(NullCo(node_name=node, size=1 << 20))
        for bitmap in bitmaps:
            added.add_bitmap(bitmap)
        alias = BitmapMigrationBitmapAlias(name="b0" if bitmaps else "c0", alias="bits")
        mapping = BitmapMigrationNodeAlias(node_name=node, alias="disk", bitmaps=(alias,))
        vm.set_migration_capabilities({"dirty-bitmaps": True})
        vm.set_migration_parameters(MigrateSetParameters(block_bitmap_mapping=[mapping]))
        assert vm.query_migration_parameters().block_bitmap_mapping == (mapping,)
    incoming = target.migrate_incoming(uri)
    source.migrate(uri).run(timeout=20)
    incoming.wait(timeout=10)
    assert [bitmap.name for bitmap in target.query_bitmaps()["there"]] == ["c0"]


def test_progress_is_told_until_the_end(source: VM, target: VM, uri: str) -> None:
    migration, _ = _slowly(source, target, uri)
    readings = migration.progress(interval=0.01)
    first = next(readings)
    assert (first.status, first.fraction < 1.0) == ("active", True)
    assert first.total >= 64 << 20
    assert first.remaining <= first.total
    source.set_migration_parameters(MigrateSetParameters(max_bandwidth=1 << 30))
    *_, last = readings
    assert (last.status, last.remaining, last.fraction) == ("completed", 0, 1.0)
    assert last.elapsed > first.elapsed


def test_the_switch_over_waits_for_a_word(source: VM, target: VM, uri: str) -> None:
    for vm in (source, target):
        vm.set_migration_capabilities({"pause-before-switchover": True})
    incoming = target.migrate_incoming(uri)
    migration = source.migrate(uri)
    migration.wait(until="pre-switchover", timeout=20)
    assert source.query_status().status == "finish-migrate"
    assert not incoming.is_over
    migration.continue_()
    migration.wait(timeout=10)
    incoming.wait(timeout=10)
    assert repr(migration) == "<migration: completed>"
    migration.wait(until="pre-switchover")  # it has been there
    with pytest.raises(StateError, match=r"completed: becoming postcopy-active is not possible"):
        migration.wait(until="postcopy-active", timeout=5)


def test_before_the_switch_over_it_can_be_cancelled_and_the_guest_goes_on(
    source: VM, target: VM, uri: str
) -> None:
    for vm in (source, target):
        vm.set_migration_capabilities({"pause-before-switchover": True})
    target.migrate_incoming(uri)
    migration = source.migrate(uri)
    migration.wait(until="pre-switchover", timeout=20)
    migration.cancel(timeout=10)
    assert migration.status == "cancelled"
    source.wait_run_state("running", timeout=5)


def test_with_postcopy_the_guest_goes_first_and_cannot_be_called_back(
    source: VM, target: VM, uri: str
) -> None:
    try:
        for vm in (target, source):
            vm.set_migration_capabilities({"postcopy-ram": True})
    except CommandError as error:
        pytest.skip(f"no userfaultfd here: {error}")
    source.set_migration_parameters(MigrateSetParameters(max_postcopy_bandwidth=1000))
    migration, incoming = _slowly(source, target, uri)
    migration.start_postcopy()
    migration.wait(until="postcopy-active", timeout=10)
    target.wait_run_state("running", timeout=5)
    with pytest.raises(StateError, match=r"postcopy-active: cancel is not possible any more$"):
        migration.cancel()
    source.set_migration_parameters(MigrateSetParameters(max_postcopy_bandwidth=0))
    with migration:  # leaving waits
        pass
    assert migration.status == "completed"
    incoming.wait(timeout=10)


def test_leaving_the_block_cancels_and_the_guest_goes_on(source: VM, target: VM, uri: str) -> None:
    migration, incoming = _slowly(source, target, uri)
    with migration:
        with pytest.raises(DeadlineExceeded, match=r"the end of migration: active after 0\.1 s"):
            migration.wait(timeout=0.1)
        assert not migration.is_over
    assert migration.status == "cancelled"
    for _ in range(2):
        with pytest.raises(MigrationCancelled, match="was cancelled"):
            migration.wait()
    migration.cancel()  # stays as it ended
    source.wait_run_state("running", timeout=5)
    with pytest.raises(ConnectionLost, match="exit status 1"):  # the target has lost its guest
        incoming.wait(timeout=10)


def test_what_takes_too_long_is_cancelled_by_run(source: VM, target: VM, uri: str) -> None:
    migration, _ = _slowly(source, target, uri)
    with pytest.raises(DeadlineExceeded):
        migration.run(timeout=0.1)
    assert migration.status == "cancelled"


def test_a_target_that_is_not_there_is_told_in_qemus_words(source: VM, uri: str) -> None:
    with pytest.raises(MigrationFailed) as caught:
        source.migrate(uri).run(timeout=10)
    assert "No such file or directory" in caught.value.error
    assert str(caught.value).startswith("the migration failed: Failed to connect to")
    assert source.query_status().status == "running"


def test_a_target_of_another_shape_fails_both_sides(source: VM, uri: str) -> None:
    with VM(machine="pc", args=("-m", "128M", *_DEFER)) as other:
        incoming = other.migrate_incoming(uri)
        migration = source.migrate(uri)
        with pytest.raises(MigrationFailed):
            migration.wait(timeout=10)
        with pytest.raises(ConnectionLost, match="exit status 1"):
            incoming.wait(timeout=10)
    source.wait_run_state("running", timeout=5)


def test_the_death_of_the_target_fails_the_source_whose_guest_goes_on(
    source: VM, target: VM, uri: str
) -> None:
    migration, incoming = _slowly(source, target, uri)
    target.process.send_signal(signal.SIGKILL)
    with pytest.raises(MigrationFailed, match=r"Broken pipe|reset by peer"):
        migration.wait(timeout=10)
    with pytest.raises(ConnectionLost, match="killed by signal 9"):
        incoming.wait(timeout=10)
    source.wait_run_state("running", timeout=5)


def test_the_death_of_the_source_is_told_to_who_waits_for_it_and_ends_the_target(
    source: VM, target: VM, uri: str
) -> None:
    migration, incoming = _slowly(source, target, uri)
    with migration:
        source.process.send_signal(signal.SIGKILL)
        with pytest.raises(ConnectionLost, match="killed by signal 9"):
            migration.wait(timeout=10)
    assert migration.is_over
    with pytest.raises(ConnectionLost, match="exit status 1"):
        incoming.wait(timeout=10)
    with pytest.raises(ConnectionLost, match=r"^migration: active: .*killed by signal 9"):
        migration.query_info()


def test_an_incoming_migration_is_not_the_targets_to_cancel(
    source: VM, target: VM, uri: str
) -> None:
    migration, incoming = _slowly(source, target, uri)
    with incoming, pytest.raises(UsageError, match="cancelled at its source only"):
        incoming.cancel()
    assert not migration.is_over
    migration.cancel(timeout=10)


_REFUSED: list[tuple[Callable[[VM, str], object], str]] = [
    (lambda vm, uri: vm.migrate(uri), "There's a migration process in progress"),
    (
        lambda vm, uri: vm.set_migration_capabilities({"events": False}),
        "There's a migration process in progress",
    ),
    (lambda vm, uri: vm.attach_migration().continue_(), "not in expected state: active"),
    (lambda vm, uri: vm.attach_migration().start_postcopy(), "Enable postcopy"),
    (lambda vm, uri: vm.migrate_incoming(uri), "'-incoming' was not specified"),
    (
        lambda vm, uri: vm.set_migration_parameters(MigrateSetParameters(downtime_limit=-1)),
        "downtime_limit|downtime-limit",
    ),
]


@pytest.mark.parametrize(("refused", "words"), _REFUSED)
def test_what_a_migration_in_flight_forbids_is_refused_in_qemus_words(
    source: VM, target: VM, uri: str, refused: Callable[[VM, str], object], words: str
) -> None:
    migration, _ = _slowly(source, target, uri)
    with pytest.raises(CommandError, match=words):
        refused(source, uri)
    assert migration.status == "active"
    migration.cancel(timeout=10)


def test_one_that_goes_out_without_events_cannot_be_attached_to(
    source: VM, target: VM, uri: str
) -> None:
    source.set_migration_parameters(_SLOW)
    target.migrate_incoming(uri)
    source.qmp.execute_raw("migrate", {"uri": uri})
    with pytest.raises(CommandError, match="There's a migration process in progress"):
        source.attach_migration()
    source.qmp.execute_raw("migrate_cancel")


def test_a_target_that_waits_already_cannot_be_told_again(target: VM, uri: str) -> None:
    target.migrate_incoming(uri)
    with pytest.raises(CommandError, match="already been started"):
        target.migrate_incoming(uri)


def test_a_uri_that_is_none_is_refused_and_nothing_is_in_flight(source: VM) -> None:
    with pytest.raises(CommandError, match="migration protocol"):
        source.migrate("bogus:address")
    assert source.attach_migration().status in ("none", "failed")  # which, is QEMU's to say
    assert source.query_status().status == "running"


def test_capabilities_are_told_as_they_were_set(source: VM) -> None:
    source.set_migration_capabilities({"auto-converge": True, "xbzrle": True})
    source.set_migration_capabilities({"xbzrle": False})
    capabilities = source.query_migration_capabilities()
    assert (capabilities["auto-converge"], capabilities["xbzrle"]) == (True, False)


def test_an_address_as_a_value_and_a_target_that_stays_are_of_newer_qemus(
    source: VM, tmp_path: Path, qemu_version: tuple[int, int]
) -> None:
    address = MigrationAddressSocketUnix(path=str(tmp_path / "migration"))
    with VM(machine="pc", args=("-m", "128M", *_DEFER)) as other:
        if qemu_version < (8, 2):
            with pytest.raises(Unsupported, match=r"no member 'channels'"):
                source.migrate(address)
            with pytest.raises(Unsupported, match="no member 'exit-on-error'"):
                other.migrate_incoming("unix:nowhere", exit_on_error=False)
            return
        incoming = other.migrate_incoming(address, exit_on_error=False)
        migration = source.migrate(address)
        for side in (migration, incoming):
            with pytest.raises(MigrationFailed):
                side.wait(timeout=10)
        assert other.is_running
