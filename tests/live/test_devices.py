"""Guest devices on real QEMU: plugged, unplugged with the guest's consent, looked at as disks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest

from qemu_blocksdk import VM, Device
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    GraphError,
    StateError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.objects import VirtioDisk
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import DeviceDeleted, QomGet, ThrottleLimits

pytestmark = pytest.mark.timeout(40)

_SLOT = (  # a PCI slot from which a device can be pulled without a guest's consent
    *("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
    *("-device", "pcie-root-port,id=rp0,bus=pcie.0"),
)


@pytest.fixture
def vm() -> Iterator[VM]:
    """A running VM with the nodes ``a`` and ``b`` and without an operating system."""
    with VM(machine="pc") as running:
        for name in "ab":
            running.add_node(NullCo(node_name=name, size=1 << 20))
        yield running


@pytest.fixture
def slotted() -> Iterator[VM]:
    """A paused VM with the node ``a`` and an empty slot."""
    with VM(machine="q35", args=("-S", *_SLOT)) as running:
        running.add_node(NullCo(node_name="a", size=1 << 20))
        yield running


def _property(vm: VM, id: str, name: str) -> object:
    return vm.qmp.execute(QomGet(path=f"/machine/peripheral/{id}", property=name))


def test_a_scsi_disk_comes_on_one_controller_and_goes_at_once(vm: VM) -> None:
    a, b = vm.node("a"), vm.node("b")
    with vm.plug(a, device="virtio-scsi", id="hd0", serial="S1") as disk:
        with vm.plug(b, device="virtio-scsi", id="hd1", share_rw=True):
            drivers = vm.query_devices()
            assert sorted(drivers.values()) == ["scsi-hd", "scsi-hd", "virtio-scsi-pci"]
            assert _property(vm, "hd0", "serial") == "S1"
            assert (_property(vm, "hd0", "share-rw"), _property(vm, "hd1", "share-rw")) == (0, 1)
        assert sorted(vm.query_devices()) == ["hd0", "virtio-scsi"]
        disk.remove()
        a.delete()  # nothing uses it any more
        assert repr(disk) == "<device 'hd0': removed>"
    assert list(vm.query_devices()) == ["virtio-scsi"]


def test_a_disk_takes_the_controller_that_is_there_even_one_without_an_id() -> None:
    with VM(machine="pc", args=("-device", "virtio-scsi-pci")) as vm:
        node = vm.add_node(NullCo(node_name="a", size=1 << 20, read_only=True))
        vm.plug(node, device="virtio-scsi", id="hd0")
        assert vm.query_devices() == {"hd0": "scsi-hd"}


def test_a_disk_in_an_io_thread_gets_a_controller_in_it(vm: VM) -> None:
    vm.add_device(vm.query_virtio_driver("virtio-scsi"), id="plain")
    thread = vm.add_iothread("io0")
    for name in "ab":
        vm.plug(vm.node(name), device="virtio-scsi", iothread=thread, id=name)
    assert sorted(vm.query_devices()) == ["a", "b", "plain", "virtio-scsi-io0"]
    assert _property(vm, "virtio-scsi-io0", "iothread") == "/objects/io0"
    with pytest.raises(UsageError, match=r"bus 'plain\.0' is in the I/O thread of its controller"):
        vm.plug(vm.node("a"), device="virtio-scsi", bus="plain.0", iothread=thread)


def test_a_bus_can_be_chosen(vm: VM) -> None:
    for number in "01":
        vm.add_device("virtio-scsi-pci", id=f"c{number}")
    vm.plug(vm.node("a"), device="virtio-scsi", bus="c1.0", id="hd0")
    path = str(_property(vm, "hd0", "parent_bus"))
    assert path == "/machine/peripheral/c1/virtio-backend/c1.0"


def test_many_disks_plugged_at_once_share_one_controller() -> None:
    async def scenario() -> dict[str, str]:
        async with AsyncVM(machine="pc") as vm:
            names = [f"n{number}" for number in range(5)]
            nodes = [await vm.add_node(NullCo(node_name=name)) for name in names]
            await asyncio.gather(*(vm.plug(node, device="virtio-scsi") for node in nodes))
            return await vm.query_devices()

    drivers = sorted(asyncio.run(scenario()).values())
    assert drivers == ["scsi-hd"] * 5 + ["virtio-scsi-pci"]


def test_a_virtio_blk_is_in_its_thread_and_leaves_when_its_slot_allows(slotted: VM) -> None:
    thread = slotted.add_iothread("io0")
    node = slotted.node("a")
    with slotted.plug(node, id="vd0", bus="rp0", serial="S", iothread=thread):
        assert slotted.query_devices()["vd0"] == "virtio-blk-pci"
        assert _property(slotted, "vd0", "iothread") == "/objects/io0"
        with pytest.raises(CommandError, match="Node a is in use"):
            node.delete()
    assert slotted.query_devices() == {"rp0": "pcie-root-port"}
    node.delete()


def test_a_guest_that_never_answers_is_named_and_may_still_answer_later(vm: VM) -> None:
    device = vm.plug(vm.node("a"), id="vd0")
    with pytest.raises(DeadlineExceeded) as caught:
        device.remove(timeout=0.2)
    assert str(caught.value) == (
        "gave up on the removal of device 'vd0', for which the guest has to cooperate, after 0.2 s"
    )
    assert "vd0" in vm.query_devices()
    assert repr(device) == "<device 'vd0'>"


def test_a_removal_that_is_pending_already_is_refused_in_qemus_words() -> None:
    with VM(machine="pc", args=("-S",)) as vm:
        device = vm.plug(vm.add_node(NullCo(node_name="a")), id="vd0")
        with pytest.raises(DeadlineExceeded):
            device.remove(timeout=0.1)
        with pytest.raises(CommandError, match=r"^device 'vd0': device_del: .*already in the proc"):
            device.remove(timeout=0.1)


def test_what_cannot_be_unplugged_is_told_on_leaving_unless_the_block_has_failed(
    slotted: VM,
) -> None:
    with pytest.raises(CommandError, match="does not support hotplugging"), slotted.device("rp0"):
        pass
    with pytest.raises(ZeroDivisionError), slotted.device("rp0"):
        _ = 1 / 0


def test_a_device_that_somebody_else_removed_is_no_reason_to_complain_on_leaving(vm: VM) -> None:
    with vm.plug(vm.node("a"), device="virtio-scsi", id="hd0"):
        vm.device("hd0").remove()


def test_a_device_whose_vm_has_gone_needs_no_removal(vm: VM) -> None:
    with vm.plug(vm.node("a"), device="virtio-scsi"):
        vm.process.send_signal(signal.SIGKILL)
        vm.process.wait(timeout=5)


def test_the_removal_is_raced_against_the_loss_of_the_connection(vm: VM) -> None:
    device = vm.plug(vm.node("a"), id="vd0")

    async def scenario() -> None:
        removal = asyncio.ensure_future(device._async.remove(timeout=30))
        await vm.qmp._async.execute_raw("query-status")  # device_del was before it
        vm.process._async.send_signal(signal.SIGKILL)
        await removal

    with pytest.raises(ConnectionLost, match="killed by signal 9"):
        background_loop.run(scenario())


def test_interrupted_on_its_way_a_device_is_removed_again(vm: VM) -> None:
    vm.add_device("virtio-scsi-pci", id="c")
    events = vm.qmp.events(DeviceDeleted.where(device="hd0"))

    async def scenario() -> None:
        aio = vm._async
        with suspended(aio):
            node = aio.node("a")
            adding = asyncio.ensure_future(
                aio.add_device("scsi-hd", id="hd0", bus="c.0", properties={"drive": node.name})
            )
            await asyncio.wait((adding,), timeout=0.05)
            adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding

    background_loop.run(scenario())
    assert events.get(timeout=5).device == "hd0"
    assert list(vm.query_devices()) == ["c"]


_REFUSED: list[tuple[Callable[[VM], object], str]] = [
    (lambda vm: vm.add_device("no-such"), "'no-such' is not a valid device model name"),
    (lambda vm: vm.add_device("virtio-scsi-pci", bus="b9"), "Bus 'b9' not found"),
    (lambda vm: vm.add_device("virtio-scsi-pci", properties={"x": 1}), "'.*x' not found"),
    (lambda vm: vm.add_device("virtio-scsi-pci", id="taken"), "Duplicate device ID 'taken'"),
    (lambda vm: vm.plug(vm.node("none")), "'.*none'"),
    (lambda vm: vm.plug(vm.node("b")), "[Nn]ode 'b'|Conflicts with use by"),
    (lambda vm: vm.plug(vm.node("a"), device="virtio-scsi", bus="b9"), "Bus 'b9' not found"),
    (lambda vm: vm.device("none").remove(), "Device 'none' not found"),
]


@pytest.mark.parametrize(("refused", "words"), _REFUSED)
def test_a_device_is_refused_in_qemus_words(
    vm: VM, refused: Callable[[VM], object], words: str
) -> None:
    vm.add_device("virtio-scsi-pci", id="taken")
    vm.plug(vm.node("b"), device="virtio-scsi", id="hd1")
    before = vm.query_devices()
    with pytest.raises(CommandError, match=words):
        refused(vm)
    assert vm.query_devices() == before


_VERBS: list[Callable[[Device], object]] = [
    lambda device: device.remove(),
    lambda device: device.query_block(),
    lambda device: device.query_stats(),
    lambda device: device.query_io_throttle(),
    lambda device: device.set_io_throttle(ThrottleLimits(iops_total=1)),
]


@pytest.mark.parametrize("verb", _VERBS)
def test_no_verb_reaches_another_device_that_has_the_id_by_now(
    vm: VM, verb: Callable[[Device], object]
) -> None:
    device = vm.plug(vm.node("a"), device="virtio-scsi", id="hd0")
    device.remove()
    vm.plug(vm.node("b"), device="virtio-scsi", id="hd0")
    with pytest.raises(StateError, match=r"^device 'hd0': removed: .* is not possible any more$"):
        verb(device)
    assert "hd0" in vm.query_devices()


@pytest.mark.parametrize("verb", _VERBS)
def test_a_verb_on_a_lost_connection_names_the_device_and_the_end_of_qemu(
    vm: VM, verb: Callable[[Device], object]
) -> None:
    device = vm.plug(vm.node("a"), device="virtio-scsi", id="hd0")
    vm.process.send_signal(signal.SIGKILL)
    with pytest.raises(ConnectionLost, match=r"^device 'hd0': .*killed by signal 9"):
        verb(device)


@pytest.mark.parametrize("kind", ["virtio-blk", "virtio-scsi"])
def test_a_disk_is_known_by_its_device_whichever_way_qemu_names_it(
    vm: VM, kind: VirtioDisk
) -> None:
    vm.plug(vm.node("b"), device=kind, id="disk0-other")
    disk = vm.plug(vm.node("a"), device=kind, id="disk0")
    medium = disk.query_block().inserted
    assert medium is not None
    assert medium.node_name == "a"
    assert disk.query_stats().wr_bytes == 0


@pytest.mark.parametrize("kind", ["virtio-blk", "virtio-scsi"])
def test_the_limits_of_a_disk_are_told_as_they_were_set(vm: VM, kind: VirtioDisk) -> None:
    disk = vm.plug(vm.node("a"), device=kind, id="disk0")
    other = vm.plug(vm.node("b"), device=kind, id="disk1")
    assert disk.query_io_throttle().iops_total == 0
    disk.set_io_throttle(
        ThrottleLimits(
            iops_total=100, iops_total_max=500, iops_total_max_length=3, bps_read=1 << 20
        )
    )
    limits = disk.query_io_throttle()
    assert (limits.iops_total, limits.iops_total_max, limits.iops_total_max_length) == (100, 500, 3)
    assert (limits.bps_read, limits.bps_write) == (1 << 20, 0)
    assert other.query_io_throttle().iops_total == 0

    for each in (disk, other):
        each.set_io_throttle(ThrottleLimits(bps_total=1 << 22), group="both")
    other.set_io_throttle(ThrottleLimits(bps_total=1 << 23), group="both")
    assert disk.query_io_throttle().bps_total == 1 << 23

    disk.set_io_throttle(ThrottleLimits())
    assert disk.query_io_throttle().bps_total == 0
    with pytest.raises(CommandError, match="cannot be used at the same time"):
        disk.set_io_throttle(ThrottleLimits(iops_total=1, iops_read=1))


def test_a_device_that_is_no_disk_has_no_statistics(vm: VM) -> None:
    device = vm.add_device("virtio-scsi-pci", id="c")
    for question in (device.query_stats, device.query_block, device.query_io_throttle):
        with pytest.raises(GraphError, match=r"^looked for the disk of device 'c', found none$"):
            question()


def test_a_kind_of_disk_that_the_binary_lacks_is_unsupported(vm: VM) -> None:
    assert vm.query_virtio_driver("virtio-blk") == "virtio-blk-pci"
    with pytest.raises(Unsupported, match="virtio-tape"):
        vm.query_virtio_driver("virtio-tape")  # type: ignore[arg-type] # none that there is


def test_a_vm_that_was_not_launched_says_so() -> None:
    with pytest.raises(BlockSdkError, match="has not been launched"):
        VM().add_device("virtio-scsi-pci")


@pytest.mark.parametrize("kind", ["virtio-blk", "virtio-scsi"])
def test_a_disks_requests_are_counted_by_how_long_they_take(vm: VM, kind: VirtioDisk) -> None:
    disk = vm.plug(vm.node("a"), device=kind, id="disk")
    disk.set_latency_histogram([1000, 1000000], boundaries_write=[10])
    stats = disk.query_stats()
    assert stats.rd_latency_histogram is not None
    assert stats.rd_latency_histogram.boundaries == (1000, 1000000)
    assert stats.rd_latency_histogram.bins == (0, 0, 0)
    assert stats.wr_latency_histogram is not None
    assert stats.wr_latency_histogram.boundaries == (10,)
    disk.set_latency_histogram()
    assert disk.query_stats().rd_latency_histogram is None
    with pytest.raises(CommandError, match=r"^device 'disk': .* set read boundaries fail"):
        disk.set_latency_histogram([20, 10])


def test_latencies_are_counted_of_disks_only_and_of_zones_from_8_1(
    vm: VM, qemu_version: tuple[int, int]
) -> None:
    with pytest.raises(GraphError, match="the disk of device 'nowhere', found none"):
        vm.device("nowhere").set_latency_histogram([1])
    disk = vm.plug(vm.node("a"), id="disk")
    if qemu_version < (8, 1):
        with pytest.raises(Unsupported, match="boundaries-zap"):
            disk.set_latency_histogram([2], boundaries_zap=[1])
    else:
        disk.set_latency_histogram([2], boundaries_zap=[1])
        counted = disk.query_stats().zone_append_latency_histogram
        assert counted is not None
        assert counted.boundaries == (1,)
    with pytest.raises(UsageError, match="boundaries_zap needs boundaries"):
        disk.set_latency_histogram(boundaries_zap=[1])
