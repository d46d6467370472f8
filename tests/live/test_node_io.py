"""Requests to a node through the monitor, and what QEMU tells of a node by itself."""

from __future__ import annotations

import asyncio
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Node, StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import (
    Blkdebug,
    BlkdebugInjectErrorOptions,
    File,
    NullCo,
    Qcow2,
    Quorum,
    Raw,
)
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    GraphError,
    ToolError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import (
    BlockImageCorrupted,
    BlockIoError,
    BlockWriteThreshold,
    QuorumFailure,
    QuorumReportBad,
)
from tests.live.helpers import MakeImage, run, write_with_qemu_io
from tests.live.nodes import opened

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def vm() -> Iterator[VM]:
    """A running VM."""
    with VM(machine="pc") as running:
        yield running


@pytest.fixture
def disk(vm: VM, make_image: MakeImage) -> Node:
    """A node on a qcow2 image of 16 MiB."""
    return opened(vm, make_image())


# -- requests -----------------------------------------------------------------------------


def test_what_is_written_through_the_monitor_is_in_the_image(disk: Node, tmp_path: Path) -> None:
    io = disk.io
    assert io.write(1 << 20, 65536, pattern=7).bytes_done == 65536
    assert io.read(1 << 20, 65536, pattern=7).pattern_matches is True
    assert io.read(1 << 20, 65536, pattern=8).pattern_matches is False
    assert io.read_data((1 << 20) - 2, 4) == b"\0\0\7\7"
    io.write_zeroes(1 << 20, 4096)
    io.discard(8 << 20, 65536)
    io.flush()
    assert io.alloc(1 << 20, 65536) == 65536
    assert [extent.allocated for extent in io.map()] == [False, True, False]
    assert io.length() == 16 << 20
    with pytest.raises(AssertionError, match="at 1052672 is 0x07, not 0x00"):
        io.assert_pattern(1 << 20, 65536, pattern=0)
    disk.delete()
    run("qemu-io", "-c", "read -P 7 1052672 61440", tmp_path / "disk.qcow2")


def test_a_request_that_fails_is_an_error_of_the_node(vm: VM, disk: Node) -> None:
    words = r"^node 'disk': qemu-io failed at 'read -C 33554432 512': .*Input/output error"
    with pytest.raises(ToolError, match=words):
        disk.io.read(32 << 20, 512)
    rule = BlkdebugInjectErrorOptions(event="none", iotype="write", errno=28)
    full = vm.add_node(Blkdebug(node_name="full", image=NullCo(size=1 << 20), inject_error=[rule]))
    with pytest.raises(ToolError, match="No space left on device"):
        full.io.write(0, 512)
    full.io.read(0, 512)
    with pytest.raises(UsageError, match="a pattern is a byte"):
        full.io.write(0, 512, pattern=256)


def test_any_command_gives_what_it_printed(vm: VM, disk: Node) -> None:
    assert disk.qemu_io("length") == "16 MiB\n"
    assert "cluster size: 64 KiB" in disk.qemu_io("info")
    assert disk.qemu_io("write -P 7 0 64k").startswith("wrote 65536/65536 bytes at offset 0\n")
    for command, words in (
        ("read 32M 512", "read failed: Input/output error"),
        ("no-such-command", 'command "no-such-command" not found'),
        ("write -P 300 0 512", "300 is not a valid pattern byte"),
        ('read "', "bad argument count"),
        ("truncate 1", "multiple of"),
        ("write -n 0 512", "-n requires -z to be specified"),
        ("read -z 0 512", "read"),
    ):
        with pytest.raises(ToolError, match=words) as caught:
            disk.qemu_io(command)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="not one command"):
        disk.qemu_io("flush\nflush")


def test_a_request_to_a_node_that_cannot_be_is_refused(vm: VM, disk: Node) -> None:
    with pytest.raises(ToolError, match=r"^node 'gone': qemu-io failed at 'flush': .*'gone'"):
        vm.node("gone").io.flush()
    with pytest.raises(ToolError, match="'gone'"):
        vm.node("gone").qemu_io("length")
    odd = vm.node('x" "y')  # is one word all the same
    with pytest.raises(ToolError, match="node-name='x\" \"y'"):
        odd.io.flush()
    read_only = vm.add_node(Raw(node_name="ro", file=NullCo(size=1 << 20), read_only=True))
    with pytest.raises(ToolError, match="read-only"):
        read_only.io.write(0, 512)


def test_a_storage_daemon_has_no_monitor_for_people(daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="n"))
    for ask in (node.io.flush, lambda: node.qemu_io("length")):
        with pytest.raises(Unsupported, match=r"^node 'n': .*'human-monitor-command'"):
            ask()


def test_answers_to_many_at_once_are_not_mixed_up(make_image: MakeImage) -> None:
    path = make_image(size="1M")
    write_with_qemu_io(path, *(f"write -P {n} {n * 4096} 4096" for n in range(50)))

    async def scenario() -> list[bytes]:
        async with AsyncVM() as vm:
            node = await vm.add_node(Qcow2(node_name="n", file=File(filename=str(path))))
            return list(await asyncio.gather(*(node.io.read_data(n * 4096, 16) for n in range(50))))

    assert asyncio.run(scenario()) == [bytes([n]) * 16 for n in range(50)]


def test_the_answer_to_what_was_given_up_is_not_the_next_ones(vm: VM) -> None:
    node = vm.add_node(NullCo(node_name="n", size=3 << 20, read_zeroes=True))
    with suspended(vm), pytest.raises(DeadlineExceeded, match=r"^node 'n': "):
        node.qemu_io("write 0 64k", timeout=0.2)
    assert node.qemu_io("length") == "3 MiB\n"


def test_a_request_to_a_qemu_that_died_says_so(vm: VM, disk: Node) -> None:
    vm.process.send_signal(signal.SIGKILL)
    vm.qmp.wait_lost(timeout=5)
    with pytest.raises(ConnectionLost, match=r"^node 'disk': human-monitor-command: "):
        disk.io.flush()


# -- write threshold ----------------------------------------------------------------------


def test_a_write_beyond_the_threshold_is_told_once(disk: Node) -> None:
    file = disk.query_child("file")
    with file.set_write_threshold(2 << 20) as crossed:
        assert file.query_info().write_threshold == 2 << 20
        disk.io.write(0, 65536)
        assert crossed.get_nowait() is None
        disk.io.write(0, 4 << 20)
        event = crossed.get(timeout=5)
        assert (event.node_name, event.write_threshold) == (file.name, 2 << 20)
        assert event.amount_exceeded > 0
        assert file.query_info().write_threshold == 0
        disk.io.write(8 << 20, 4 << 20)
        with pytest.raises(DeadlineExceeded):
            crossed.get(timeout=0.05)


def test_a_threshold_is_turned_off(vm: VM) -> None:
    node = vm.add_node(NullCo(node_name="n", size=1 << 20))
    with node.set_write_threshold(512) as crossed:
        node.set_write_threshold(0).close()
        node.io.write(65536, 512)
        assert crossed.get_nowait() is None


def test_a_threshold_that_cannot_be_leaves_no_subscription(vm: VM) -> None:
    with pytest.raises(CommandError, match=r"^node 'gone': block-set-write-threshold: .*'gone'"):
        vm.node("gone").set_write_threshold(512)
    node = vm.add_node(NullCo(node_name="n", size=1 << 20))
    with pytest.raises(UsageError, match="a size of -1"):
        node.set_write_threshold(-1)
    with node.set_write_threshold("1k") as crossed:
        node.io.write(0, 1024)  # it ends there, not beyond
        assert crossed.get_nowait() is None
        node.io.write(512, 1024)
        assert crossed.get(timeout=5).amount_exceeded == 512


# -- events -------------------------------------------------------------------------------


def test_a_node_tells_its_own_events_only(vm: VM) -> None:
    one, other = (vm.add_node(NullCo(node_name=name, size=1 << 20)) for name in ("a", "b"))
    with one.events() as events:
        for node in (other, one):
            node.set_write_threshold(512).close()
            node.io.write(4096, 512)
        event = events.get(timeout=5)
        assert isinstance(event, BlockWriteThreshold)
        assert event.node_name == "a"
        assert events.get_nowait() is None


def test_an_io_error_of_a_guest_is_told() -> None:
    rule = BlkdebugInjectErrorOptions(event="none", iotype="read")
    options = Blkdebug(node_name="bad", image=NullCo(size=1 << 20), inject_error=[rule])
    with VM(machine="pc", accelerator="tcg", args=("-S",)) as vm:
        node = vm.add_node(options)
        vm.plug(node, id="disk")
        with node.events() as events:
            vm.cont()  # the firmware reads the boot sector
            event = events.get(timeout=20)
    assert isinstance(event, BlockIoError)
    assert (event.node_name, event.operation, event.action) == ("bad", "read", "report")


def test_a_corrupt_image_is_told(vm: VM, make_image: MakeImage) -> None:
    path = make_image(write="0 64k")
    with path.open("r+b") as file:
        (l1,) = struct.unpack(">Q", file.read(48)[40:])
        file.seek(l1)
        (l2,) = struct.unpack(">Q", file.read(8))
        file.seek(l2 & 0x00FFFFFFFFFFFE00)
        file.write(struct.pack(">Q", 1 << 63 | l1))  # the first cluster lies on the L1 table
    node = opened(vm, path)
    with node.events() as events:
        with pytest.raises(ToolError, match="Input/output error"):
            node.io.write(0, 512)
        event = events.get(timeout=5)
    assert isinstance(event, BlockImageCorrupted)
    assert (event.node_name, event.fatal) == ("disk", True)


def test_a_quorum_tells_of_its_failure_and_the_child_of_its_own(vm: VM) -> None:
    rule = BlkdebugInjectErrorOptions(event="none", iotype="write")
    children = [NullCo(node_name=f"c{n}", size=1 << 20) for n in range(2)]
    bad = [Blkdebug(node_name=f"bad{n}", image=f"c{n}", inject_error=[rule]) for n in range(2)]
    for child in children:
        vm.add_node(child)
    for filter in bad:
        vm.add_node(filter)
    quorum = vm.add_node(Quorum(node_name="q", children=["bad0", "bad1"], vote_threshold=2))
    with quorum.events() as events, vm.node("bad0").events() as of_child:
        with pytest.raises(ToolError, match="Input/output error"):
            quorum.io.write(0, 512)
        failure, report = events.get(timeout=5), of_child.get(timeout=5)
    assert isinstance(failure, QuorumFailure)
    assert failure.reference == "q"
    assert isinstance(report, QuorumReportBad)
    assert (report.node_name, report.type) == ("bad0", "write")


def test_events_end_with_the_connection(vm: VM, disk: Node) -> None:
    events = disk.events()
    vm.process.send_signal(signal.SIGKILL)
    with pytest.raises(ConnectionLost):
        events.get(timeout=5)


def test_the_events_of_a_node_that_is_gone_do_not_come(vm: VM) -> None:
    node = vm.add_node(NullCo(node_name="n", size=1 << 20))
    with node.events() as events:
        node.delete()
        with pytest.raises(GraphError):
            node.query_info()
        assert events.get_nowait() is None
