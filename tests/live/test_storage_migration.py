"""A guest moves to another VM with its disks and their bitmaps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Image, Node, StorageMigration
from qemu_blocksdk.errors import BlockSdkError, CommandError, ConnectionLost
from qemu_blocksdk.wire import QueryJobs, QueryStatus
from tests.live.helpers import MakeImage, are_equal, wait_until

pytestmark = pytest.mark.timeout(90)

DISKS = ("one", "two")


class Pair:
    """Two VMs of one kind, with two disks each: those of the target are empty."""

    def __init__(self, stack: ExitStack, folder: Path, make_image: MakeImage) -> None:
        self.source = stack.enter_context(VM())
        self.target = stack.enter_context(VM(incoming="defer"))
        self.images: dict[str, list[Path]] = {"source": [], "target": []}
        self.move = StorageMigration(self.source, self.target)
        for number, name in enumerate(DISKS):
            nodes: list[Node] = []
            for side, vm in (("source", self.source), ("target", self.target)):
                data = f"-P {number + 1} 1M 4M" if side == "source" else None
                path = make_image(f"{side}-{name}.qcow2", write=data)
                self.images[side].append(path)
                # The names of the nodes need not be the same.
                node = vm.add_node(Image(path, format="qcow2").options(f"{side[0]}-{name}"))
                vm.plug(node, device="virtio-scsi", id=name)
                nodes.append(node)
            self.move.add_disk(*nodes)

    def write(self, vm: VM, disk: str, words: str) -> None:
        """Write as the guest would."""
        vm.hmp_qemu_io(disk, words, qdev=True)

    def assert_source_goes_on(self) -> None:
        """Nothing has happened to the source."""
        wait_until(
            lambda: self.source.qmp.execute(QueryStatus()).status == "running",
            what="the source running",
        )
        assert self.source.qmp.execute(QueryJobs()) == []
        names = {node.name for node in self.source.graph().nodes}
        assert not [name for name in names if name.startswith("peer")]
        self.write(self.source, "one", "write 0 64k")


@pytest.fixture
def pair(tmp_path: Path, make_image: MakeImage) -> Iterator[Pair]:
    """Two VMs."""
    with ExitStack() as stack:
        yield Pair(stack, tmp_path, make_image)


def test_the_guest_finds_its_disks_and_bitmaps_at_the_target(pair: Pair) -> None:
    bitmap = pair.source.node("s-one").add_bitmap("changes", persistent=True)
    pair.write(pair.source, "one", "write -P 9 8M 128k")
    count, digest = bitmap.query_info().count, bitmap.query_sha256()
    readings: list[float] = []
    pair.move.migrate(timeout=60, on_progress=lambda it: readings.append(it.fraction))
    assert readings[-1] == 1.0
    assert pair.source.qmp.execute(QueryStatus()).status == "postmigrate"
    assert pair.target.qmp.execute(QueryStatus()).status == "running"
    moved = pair.target.node("t-one").bitmap("changes")
    assert moved.query_matches(count=count, persistent=True, recording=True, busy=False)
    assert moved.query_sha256() == digest
    assert pair.source.qmp.execute(QueryJobs()) == []
    assert pair.target.query_exports() == []
    pair.source.stop()
    pair.target.stop()
    for source, target in zip(*pair.images.values(), strict=True):
        assert are_equal(source, target)


def test_the_guest_can_write_at_the_target_at_once(pair: Pair) -> None:
    pair.move.migrate(timeout=60)
    pair.write(pair.target, "one", "write -P 5 0 64k")
    pair.write(pair.target, "two", "write -P 5 0 64k")


def test_a_target_that_is_too_small_is_refused_and_the_source_goes_on(
    pair: Pair, make_image: MakeImage
) -> None:
    small = Image(make_image("small.qcow2", size="1M"), format="qcow2")
    big = pair.source.node("s-one")
    move = StorageMigration(pair.source, pair.target)
    move.add_disk(big, pair.target.add_node(small.options("small")))
    with pytest.raises(BlockSdkError, match="mirror"):
        move.migrate(timeout=60)
    pair.assert_source_goes_on()


def test_a_target_that_waits_for_nobody_is_refused(make_image: MakeImage) -> None:
    with VM() as source, VM() as target:
        nodes = [
            vm.add_node(Image(make_image(f"{n}.qcow2"), format="qcow2").options("disk"))
            for n, vm in (("a", source), ("b", target))
        ]
        move = StorageMigration(source, target)
        move.add_disk(*nodes)
        with pytest.raises(CommandError, match="incoming"):
            move.migrate(timeout=60)
        assert source.qmp.execute(QueryStatus()).status == "running"
        assert source.qmp.execute(QueryJobs()) == []


def test_a_target_that_dies_leaves_the_guest_at_the_source(pair: Pair) -> None:
    operation = pair.move.start_migrate()
    wait_until(lambda: bool(pair.source.qmp.execute(QueryJobs())), what="the mirrors")
    pair.target.process.kill()
    with pytest.raises(BlockSdkError):
        operation.run(timeout=60)
    pair.assert_source_goes_on()


def test_a_source_that_dies_is_told(pair: Pair) -> None:
    operation = pair.move.start_migrate()
    wait_until(lambda: bool(pair.source.qmp.execute(QueryJobs())), what="the mirrors")
    pair.source.process.kill()
    with pytest.raises(ConnectionLost, match="signal 9"):
        operation.run(timeout=60)
    assert pair.target.query_exports() == []


def test_a_move_that_is_cancelled_leaves_the_guest_at_the_source(pair: Pair) -> None:
    operation = pair.move.start_migrate()
    wait_until(lambda: bool(pair.source.qmp.execute(QueryJobs())), what="the mirrors")
    operation.cancel()
    pair.assert_source_goes_on()
    assert pair.target.query_exports() == []
