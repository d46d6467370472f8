"""Five tests that fail: docs/failure-reports.md shows what a reader gets to see of each."""

import signal

from qemu_blocksdk import VM, Image, QemuIo, StorageDaemon
from qemu_blocksdk.blockdev import Blkdebug
from qemu_blocksdk.testing import Golden, ImageFactory, NodeFactory, QmpLog
from qemu_blocksdk.wire import BlkdebugInjectErrorOptions, BlockJobReady

MIB = 1 << 20


def test_a_job_in_another_state(vm: VM, image: ImageFactory, add_image: NodeFactory) -> None:
    source = add_image(vm, _full(image("disk", 16 * MIB), 16 * MIB), node_name="source")
    target = add_image(vm, image("copy", 16 * MIB), node_name="target")
    job = source.start_mirror(target, job_id="copy")
    job.wait(until="ready", timeout=10)
    assert job.status == "concluded"


def test_a_qemu_that_dies(vm: VM, image: ImageFactory, add_image: NodeFactory) -> None:
    node = add_image(vm, image("disk", 16 * MIB), node_name="disk")
    node.add_bitmap("b0")
    vm.process.send_signal(signal.SIGSEGV)
    node.add_bitmap("b1")


def test_a_job_that_fails(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    source = add_image(storage_daemon, _full(image("disk", 16 * MIB), 16 * MIB), node_name="source")
    add_image(storage_daemon, image("copy", 16 * MIB), node_name="copy")
    full = BlkdebugInjectErrorOptions(event="none", iotype="write", errno=28)
    target = storage_daemon.add_node(Blkdebug(node_name="full", image="copy", inject_error=[full]))
    source.mirror(target, job_id="copy", timeout=10)


def test_an_event_that_does_not_come(
    storage_daemon: StorageDaemon, image: ImageFactory, add_image: NodeFactory
) -> None:
    source = add_image(storage_daemon, _full(image("disk", 64 * MIB), 64 * MIB), node_name="source")
    target = add_image(storage_daemon, image("copy", 64 * MIB), node_name="target")
    with storage_daemon.qmp.events(BlockJobReady) as ready:
        source.start_mirror(target, job_id="copy", speed=1)
        ready.get(timeout=0.5)


def test_a_dialog_that_is_another(
    storage_daemon: StorageDaemon,
    image: ImageFactory,
    add_image: NodeFactory,
    qmp_log: QmpLog,
    golden: Golden,
) -> None:
    node = add_image(storage_daemon, image("disk", 16 * MIB), node_name="disk")
    qmp_log.clear()
    node.add_bitmap("b0", granularity=1 << 20)
    node.delete()
    golden.check(qmp_log.text())


def _full(image: Image, size: int) -> Image:
    """The image, with data in all of its size."""
    with QemuIo(image) as io:
        io.write(0, size)
    return image
