"""A disk's data is moved and its chain shortened while it is in use."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qemu_blocksdk import Disk, Image, Node, StorageDaemon, UriExport
from qemu_blocksdk.blockdev import (
    Blkdebug,
    BlkdebugInjectErrorOptions,
    File,
    NullCo,
    Qcow2,
    Raw,
    Throttle,
)
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    GraphError,
    JobFailed,
    UsageError,
)
from qemu_blocksdk.wire import (
    ObjectAdd,
    ObjectOptionsThrottleGroup,
    QueryJobs,
    ThrottleLimits,
)
from tests.live.helpers import MakeImage, are_equal, run, wait_until

pytestmark = pytest.mark.timeout(60)


@contextmanager
def _in_use(daemon: StorageDaemon, node: Node) -> Generator[UriExport]:
    """UriExport a node as the disk of somebody."""
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        yield export


def _chain(make_image: MakeImage) -> list[Path]:
    """Three images, each upon the one before, with data of its own."""
    base = make_image("base.qcow2", write="-P 1 0 8M")
    middle = make_image("middle.qcow2", backing=base, write="-P 2 2M 2M")
    return [base, middle, make_image("top.qcow2", backing=middle, write="-P 3 3M 2M")]


def _open(daemon: StorageDaemon, chain: list[Path]) -> Node:
    """Open a chain, each layer with a name."""
    options: Qcow2 | None = None
    for path in chain:
        file = File(filename=str(path))
        options = Qcow2(node_name=path.stem, file=file, backing=options)
    assert options is not None
    return daemon.add_node(options)


def _copied(path: Path, folder: Path) -> Path:
    copy = folder / "reference.qcow2"
    run("qemu-img", "convert", "-U", "-O", "qcow2", path, copy)
    return copy


def _names(daemon: StorageDaemon) -> set[str]:
    return {node.name for node in daemon.graph().nodes if node.type == "block-driver"} - {""}


def test_a_disk_is_moved_under_its_user(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    chain = _chain(make_image)
    reference = _copied(chain[-1], tmp_path)
    disk = Disk(daemon, _open(daemon, chain))
    target = Image(tmp_path / "moved.qcow2", format="qcow2")
    readings: list[float] = []
    with _in_use(daemon, disk.node) as export:
        disk.move(target, timeout=30, on_progress=lambda it: readings.append(it.fraction))
        assert disk.node.query_info().file == str(target.path)
        assert not {name for name in _names(daemon) if name in ("top", "middle", "base")}
        assert are_equal(reference, target.path)
        export.write(0, 65536, pattern=9)
    assert readings[-1] == 1.0
    assert not are_equal(reference, target.path)
    assert are_equal(reference, chain[-1])
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_disk_is_moved_to_another_format(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    source = make_image(write="-P 7 1M 4M")
    disk = Disk(daemon, daemon.add_node(Image(source, format="qcow2").options("disk")))
    target = Image(tmp_path / "moved.raw", format="raw")
    disk.move(target, timeout=30)
    disk.node.delete()
    assert are_equal(source, target.path)


def test_the_active_layer_is_committed_under_its_user(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    chain = _chain(make_image)
    reference = _copied(chain[-1], tmp_path)
    disk = Disk(daemon, _open(daemon, chain))
    with _in_use(daemon, disk.node) as export:
        disk.commit(timeout=30)
        assert disk.node.name == "middle"
        assert "top" not in _names(daemon)
        assert are_equal(reference, chain[1])
        export.write(0, 65536, pattern=9)
    assert not are_equal(reference, chain[1])


def test_two_layers_are_committed_into_the_base(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    chain = _chain(make_image)
    reference = _copied(chain[-1], tmp_path)
    disk = Disk(daemon, _open(daemon, chain))
    with _in_use(daemon, disk.node):
        disk.commit(daemon.node("base"), timeout=30)
        assert disk.node.name == "base"
        assert _names(daemon) & {"top", "middle"} == set()
    assert are_equal(reference, chain[0])


def test_a_chain_is_flattened(daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path) -> None:
    chain = _chain(make_image)
    reference = _copied(chain[-1], tmp_path)
    disk = Disk(daemon, _open(daemon, chain))
    disk.flatten(timeout=30)
    assert disk.node.name == "top"
    assert _names(daemon) & {"base", "middle"} == set()
    disk.node.delete()
    for path in chain[:2]:
        path.unlink()
    assert Image(chain[2], format="qcow2").info().backing_filename is None
    assert are_equal(reference, chain[2])


def test_a_move_that_fails_leaves_the_disk_where_it_was(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    rule = BlkdebugInjectErrorOptions(event="none", iotype="read", sector=8192)
    file = Blkdebug(
        image=File(filename=str(make_image("d.raw", fmt="raw", write="-P 1 0 8M"))),
        inject_error=[rule],
    )
    disk = Disk(daemon, daemon.add_node(Raw(node_name="disk", file=file)))
    target = Image(tmp_path / "moved.qcow2", format="qcow2")
    names = _names(daemon)
    with pytest.raises(JobFailed, match="Input/output error"):
        disk.move(target, timeout=30)
    assert disk.node.name == "disk"
    assert _names(daemon) == names
    assert not target.path.exists()
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_name_that_is_taken_is_refused(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    disk = Disk(daemon, daemon.add_node(Image(make_image(), format="qcow2").options("disk")))
    taken = tmp_path / "taken"
    taken.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        disk.move(Image(taken, format="raw"), timeout=30)
    assert taken.read_bytes() == b"precious"


def test_a_full_disk_under_the_target_fails_the_move(
    daemon: StorageDaemon, make_image: MakeImage, full_disk: Path
) -> None:
    source = make_image(write="-P 7 0 8M")
    disk = Disk(daemon, daemon.add_node(Image(source, format="qcow2").options("disk")))
    with pytest.raises(JobFailed, match="No space left"):
        disk.move(Image(full_disk / "moved.qcow2", format="qcow2"), timeout=30)
    assert not list(full_disk.iterdir())
    assert disk.node.name == "disk"


def test_there_is_nothing_to_commit_a_single_layer_into(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    disk = Disk(daemon, daemon.add_node(Image(make_image(), format="qcow2").options("disk")))
    with pytest.raises(GraphError, match="backing"):
        disk.commit(timeout=30)


def test_a_disk_that_is_gone_is_named(daemon: StorageDaemon, tmp_path: Path) -> None:
    disk = Disk(daemon, daemon.node("nowhere"))
    target = Image(tmp_path / "moved.qcow2", format="qcow2")
    for operation in (disk.start_move(target), disk.start_commit(), disk.start_flatten()):
        with pytest.raises(BlockSdkError, match="nowhere"):
            operation.run(timeout=30)
    assert not target.path.exists()


def _slow(daemon: StorageDaemon, path: Path) -> Disk:
    """A disk that is read at 8 MiB/s."""
    limits = ThrottleLimits(bps_total=8 << 20)
    daemon.qmp.execute(ObjectAdd(options=ObjectOptionsThrottleGroup(id="slow", limits=limits)))
    file = Qcow2(file=File(filename=str(path)))
    return Disk(
        daemon, daemon.add_node(Throttle(node_name="disk", throttle_group="slow", file=file))
    )


def test_a_move_that_is_cancelled_leaves_nothing(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    disk = _slow(daemon, make_image(write="-P 1 0 16M"))
    names = _names(daemon)
    target = Image(tmp_path / "moved.qcow2", format="qcow2")
    operation = disk.start_move(target)
    wait_until(lambda: bool(daemon.qmp.execute(QueryJobs())), what="the mirror")
    assert target.path.exists()
    operation.cancel()
    assert not target.path.exists()
    assert _names(daemon) == names
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_qemu_that_dies_while_a_disk_moves_leaves_no_half_image(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    disk = _slow(daemon, make_image(write="-P 1 0 16M"))
    target = Image(tmp_path / "moved.qcow2", format="qcow2")
    operation = disk.start_move(target)
    wait_until(lambda: bool(daemon.qmp.execute(QueryJobs())), what="the mirror")
    daemon.process.kill()
    with pytest.raises(ConnectionLost, match="signal 9"):
        operation.run(timeout=30)
    assert not target.path.exists()


def test_a_switch_that_qemu_refuses_is_told(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    source = make_image(write="-P 7 0 1M")
    node = daemon.add_node(Image(source, format="qcow2").options("disk"))
    other = node.start_backup(daemon.add_node(NullCo(node_name="sink", size=16 << 20)), speed=1)
    with other, pytest.raises((CommandError, JobFailed), match="node 'disk': blockdev-mirror: "):
        Disk(daemon, node).move(Image(tmp_path / "moved.qcow2", format="qcow2"), timeout=30)
    assert not (tmp_path / "moved.qcow2").exists()
