"""What a running block layer does with images, in each format of the matrix."""

import asyncio

import pytest

from qemu_blocksdk import VM, Image, QemuIo, StorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, CopyBeforeWrite, SnapshotAccess, Throttle
from qemu_blocksdk.errors import CommandError, JobFailed
from qemu_blocksdk.testing import (
    AsyncStorageDaemonFactory,
    Golden,
    ImageFactory,
    NodeFactory,
    QmpLog,
    TestEnv,
    VmFactory,
)
from qemu_blocksdk.wire import BlkdebugInjectErrorOptions, ThrottleLimits

MIB = 1 << 20


def filled(disk: Image, *, pattern: int) -> Image:
    """Fill the second MiB."""
    with QemuIo(disk) as io:
        io.write(MIB, MIB, pattern=pattern)
    return disk


def test_a_mirror_switches_over_to_its_copy(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    disk, copy = filled(image("disk", 16 * MIB), pattern=7), image("copy", 16 * MIB)
    source = add_image(storage_daemon, disk, node_name="source")
    target = add_image(storage_daemon, copy, node_name="target")
    result = source.mirror(target, timeout=30)
    assert result.outcome == "completed"
    for node in (source, target):
        node.delete()
    with QemuIo(copy) as io:
        io.assert_pattern(MIB, MIB, pattern=7)


def test_an_incremental_backup_copies_what_the_bitmap_marks(
    vm: VM, image: ImageFactory, add_image: NodeFactory
) -> None:
    disk, increment = filled(image("disk", 16 * MIB), pattern=7), image("increment", 16 * MIB)
    source = add_image(vm, disk, node_name="source")
    target = add_image(vm, increment, node_name="target")
    target.io.write(0, 16 * MIB, pattern=0)
    bitmap = source.add_bitmap("since")
    source.io.write(4 * MIB, MIB, pattern=8)
    assert bitmap.query_info().count == MIB
    source.backup(target, sync="incremental", bitmap=bitmap, timeout=30)
    assert bitmap.query_info().count == 0
    target.io.assert_pattern(4 * MIB, MIB, pattern=8)
    target.io.assert_pattern(MIB, MIB, pattern=0)


@pytest.mark.formats("qcow2")
def test_a_snapshot_leaves_the_base_alone_and_a_commit_does_not(
    vm: VM, image: ImageFactory, add_image: NodeFactory
) -> None:
    base = add_image(vm, filled(image("base", 16 * MIB), pattern=1), node_name="base")
    overlay = add_image(vm, image("overlay", 16 * MIB), node_name="overlay")
    base.snapshot(overlay)
    overlay.io.write(MIB, MIB, pattern=2)
    base.io.assert_pattern(MIB, MIB, pattern=1)
    vm.graph().assert_path("overlay", "/backing", "base")
    overlay.commit(base=base, timeout=30)
    base.io.assert_pattern(MIB, MIB, pattern=2)


@pytest.mark.formats("qcow2")
def test_a_stream_makes_an_overlay_independent(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    base = filled(image("base", 16 * MIB), pattern=7)
    overlay = image("overlay", backing=base)
    node = add_image(storage_daemon, overlay, node_name="overlay")
    node.stream(timeout=30)
    node.delete()
    base.path.unlink()
    with QemuIo(overlay) as io:
        io.assert_pattern(MIB, MIB, pattern=7)


def test_an_export_writes_into_the_image(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    disk = image("disk", 16 * MIB)
    node = add_image(storage_daemon, disk, node_name="disk")
    with storage_daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        export.write(MIB, MIB, pattern=7)
    node.delete()
    with QemuIo(disk) as io:
        io.assert_pattern(MIB, MIB, pattern=7)


def test_a_node_grows_under_its_user(vm: VM, image: ImageFactory, add_image: NodeFactory) -> None:
    node = add_image(vm, image("disk", 16 * MIB), node_name="disk")
    node.resize(32 * MIB)
    assert node.io.length() == 32 * MIB
    node.io.write(31 * MIB, MIB, pattern=7)
    node.io.assert_pattern(31 * MIB, MIB, pattern=7)


def test_a_throttled_node_keeps_to_its_group(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    add_image(storage_daemon, image("disk", 16 * MIB), node_name="disk")
    group = storage_daemon.add_throttle_group("slow", limits=ThrottleLimits(bps_write=MIB))
    storage_daemon.add_node(Throttle(node_name="limited", throttle_group="slow", file="disk"))
    assert group.query_limits().bps_write == MIB
    group.set_limits(ThrottleLimits(iops_total=100))
    assert group.query_limits().iops_total == 100


def test_a_disk_comes_and_goes_while_the_guest_runs(
    vm: VM, image: ImageFactory, add_image: NodeFactory
) -> None:
    node = add_image(vm, image("disk", 16 * MIB), node_name="disk")
    with vm.plug(node, device="virtio-scsi", id="hd0", serial="S1"):
        assert "hd0" in vm.query_devices()
    assert "hd0" not in vm.query_devices()
    node.delete()


def test_a_guest_moves_to_another_vm_with_its_disk(
    vm_factory: VmFactory, image: ImageFactory, add_image: NodeFactory, test_env: TestEnv
) -> None:
    disk = image("disk", 16 * MIB)
    address = f"unix:{test_env.sock_dir}/migration"
    source, target = vm_factory(), vm_factory(incoming="defer")
    for vm in (source, target):
        add_image(vm, disk, node_name="disk")
    target.migrate_incoming(address)
    source.migrate(address).run(timeout=30)
    target.wait_run_state("running", timeout=10)
    target.node("disk").io.write(0, MIB, pattern=7)


def test_a_backup_of_a_broken_disk_says_what_is_wrong(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    disk, copy = filled(image("disk", 16 * MIB), pattern=7), image("copy", 16 * MIB)
    add_image(storage_daemon, disk, node_name="disk")
    error = BlkdebugInjectErrorOptions(event="none", iotype="read")
    broken = storage_daemon.add_node(
        Blkdebug(node_name="broken", image="disk", inject_error=[error])
    )
    target = add_image(storage_daemon, copy, node_name="target")
    with pytest.raises(JobFailed, match="Input/output error"):
        broken.backup(target, timeout=30)


@pytest.mark.formats("qcow2")
@pytest.mark.requires(member="blockdev-backup.discard-source")
def test_a_point_in_time_gives_back_what_was_copied(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    disk = add_image(storage_daemon, filled(image("disk", 16 * MIB), pattern=7), node_name="disk")
    add_image(storage_daemon, image("old", 16 * MIB), node_name="old")
    storage_daemon.add_node(CopyBeforeWrite(node_name="cbw", file="disk", target="old"))
    frozen = storage_daemon.add_node(SnapshotAccess(node_name="frozen", file="cbw"))
    target = add_image(storage_daemon, image("copy", 16 * MIB), node_name="target")
    result = frozen.backup(target, discard_source=True, timeout=30)
    assert (result.outcome, disk.name) == ("completed", "disk")


def test_the_dialog_about_a_bitmap_is_as_it_was(
    storage_daemon: StorageDaemon,
    image: ImageFactory,
    add_image: NodeFactory,
    qmp_log: QmpLog,
    golden: Golden,
) -> None:
    node = add_image(storage_daemon, image("disk", 16 * MIB), node_name="disk")
    bitmap = node.add_bitmap("b0", granularity=65536)
    with pytest.raises(CommandError, match="already exists"):
        node.add_bitmap("b0")
    bitmap.disable()
    bitmap.remove()
    node.delete()
    golden.check(qmp_log.text())


def test_coroutines_have_a_daemon_as_well(
    async_storage_daemon: AsyncStorageDaemonFactory, image: ImageFactory
) -> None:
    disk = image("disk", 16 * MIB, format="raw")

    async def main() -> int:
        async with async_storage_daemon() as daemon:
            node = await daemon.add_node(disk.options("disk"))
            return (await node.query_info()).image.virtual_size

    assert asyncio.run(main()) == 16 * MIB
