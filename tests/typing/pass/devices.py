"""What a VM has at run time: devices, limits, threads, run states, migration."""

from typing import assert_type

from qemu_blocksdk import VM, Device, IoThread, Migration, Node, StorageDaemon, ThrottleGroup
from qemu_blocksdk.jobs import MigrationProgress
from qemu_blocksdk.objects import IoThreadParameters
from qemu_blocksdk.wire import (
    BlockDeviceStats,
    MigrateSetParameters,
    MigrationAddressSocketUnix,
    MigrationCapability,
    MigrationInfo,
    RunState,
    ThrottleLimits,
)


def at_run_time(vm: VM, daemon: StorageDaemon, node: Node) -> None:
    """Each verb with the types that it takes and gives."""
    assert_type(daemon.add_throttle_group("tg", limits=ThrottleLimits(bps_total=1)), ThrottleGroup)
    with vm.add_iothread("io", parameters=IoThreadParameters(poll_max_ns=0)) as thread:
        assert_type(thread, IoThread)
        node.set_iothread(thread)
        with vm.plug(node, device="virtio-scsi", serial="S", iothread=thread) as device:
            assert_type(device, Device)
            assert_type(device.query_stats(), BlockDeviceStats)
            assert_type(device.query_io_throttle(), ThrottleLimits)
    assert_type(vm.add_device("virtio-rng-pci", properties={"max-bytes": 1}), Device)
    assert_type(vm.query_status().status, RunState)
    vm.wait_run_state("paused", timeout=1)
    vm.set_action(shutdown="pause")


def to_another(source: VM, target: VM) -> None:
    """Migration."""
    source.set_migration_capabilities({"dirty-bitmaps": True})
    source.set_migration_parameters(MigrateSetParameters(max_bandwidth=1))
    assert_type(source.query_migration_capabilities(), dict[MigrationCapability, bool])
    assert_type(target.migrate_incoming("unix:path"), Migration)
    migration = source.migrate(MigrationAddressSocketUnix(path="path"))
    for progress in migration.progress():
        assert_type(progress, MigrationProgress)
    migration.wait(until="pre-switchover")
    assert_type(migration.run(timeout=1), MigrationInfo)
