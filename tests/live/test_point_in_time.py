"""A reader over NBD sees one moment, whatever is written meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk import VM, Image, PointInTime, StorageDaemon
from qemu_blocksdk.errors import BlockSdkError, CommandError, ConnectionLost, ToolError, UsageError
from tests.live.helpers import MakeImage, are_equal, run, write_with_qemu_io

pytestmark = pytest.mark.timeout(60)


def _read(moment: PointInTime, path: Path) -> Path:
    """Copy what the reader sees."""
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(moment.uri), path)
    return path


def _copy(image: Path, path: Path) -> Path:
    run("qemu-img", "convert", "-U", "-O", "qcow2", image, path)
    return path


def _names(daemon: StorageDaemon | VM) -> set[str]:
    return {node.name for node in daemon.graph().nodes if not node.name.startswith("#")}


def test_a_reader_sees_the_moment_while_a_client_writes(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    path = make_image(write="-P 1 0 8M")
    before = _copy(path, tmp_path / "before.qcow2")
    node = daemon.add_node(Image(path, format="qcow2").options("disk"))
    with daemon.start_nbd_server() as server:
        with (
            PointInTime(daemon, node, server=server) as moment,
            server.export(moment.front, name="disk", writable=True) as export,
        ):
            export.write(1 << 20, 1 << 20, pattern=9)
            export.write(12 << 20, 1 << 20, pattern=8)
            seen = _read(moment, tmp_path / "seen.qcow2")
            export.write(0, 1 << 20, pattern=7)
            again = _read(moment, tmp_path / "again.qcow2")
        assert _names(daemon) == {"disk"}
    node.delete()
    assert are_equal(seen, before)
    assert are_equal(again, before)
    assert not are_equal(path, before)


def test_a_guests_device_is_moved_under_it_and_back(make_image: MakeImage, tmp_path: Path) -> None:
    path = make_image(write="-P 1 0 4M")
    before = _copy(path, tmp_path / "before.qcow2")
    with VM() as vm:
        node = vm.add_node(Image(path, format="qcow2").options("disk"))
        vm.plug(node, device="virtio-scsi", id="d0")

        def write(pattern: int) -> None:
            vm.hmp_qemu_io("d0", f"write -P {pattern} 1M 64k", qdev=True)

        with PointInTime(vm, node, device="d0") as moment:
            write(5)
            assert are_equal(_read(moment, tmp_path / "seen.qcow2"), before)
            users = [edge.parent.name for edge in vm.graph().edges if edge.child.name == "disk"]
            assert users == [moment.front.name]
        write(6)
        assert _names(vm) >= {"disk", "d0"}
        assert not [name for name in _names(vm) if name.startswith(("front", "then", "scratch"))]
    write_with_qemu_io(path, "read -P 6 1M 64k")


def test_it_refuses_to_begin_while_somebody_writes_past_it(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = daemon.add_node(Image(make_image(), format="qcow2").options("disk"))
    with daemon.start_nbd_server() as server, server.export(node, writable=True):
        names = _names(daemon)
        with (
            pytest.raises(CommandError, match="conflict"),
            PointInTime(daemon, node, server=server),
        ):
            pass
        assert _names(daemon) == names


def test_its_parts_are_there_in_its_block_only(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = daemon.add_node(Image(make_image(), format="qcow2").options("disk"))
    moment = PointInTime(daemon, node)
    with pytest.raises(UsageError, match="point in time of 'disk' is not there"):
        _ = moment.uri
    with moment:
        with pytest.raises(UsageError, match="entered already"), moment:
            pass
        assert moment.front.query_info().drv == "copy-before-write"
    for _ in range(2):
        with moment:
            pass
    with pytest.raises(UsageError):
        _ = moment.front


def test_a_scratch_image_without_room_breaks_the_reader_not_the_writer(
    daemon: StorageDaemon, make_image: MakeImage, full_disk: Path
) -> None:
    path = make_image(write="-P 1 0 8M")
    node = daemon.add_node(Image(path, format="qcow2").options("disk"))
    with (
        daemon.start_nbd_server() as server,
        PointInTime(daemon, node, server=server, scratch_folder=full_disk) as moment,
        server.export(moment.front, name="disk", writable=True) as export,
    ):
        export.write(0, 4 << 20, pattern=9)
        with pytest.raises(ToolError):
            Image.at_uri(moment.uri).convert(Image(path.parent / "seen", format="raw"))
    node.delete()
    write_with_qemu_io(path, "read -P 9 0 4M")
    assert not list(full_disk.iterdir())


def test_when_qemu_dies_in_it_nothing_is_left(make_image: MakeImage) -> None:
    with StorageDaemon() as daemon:
        node = daemon.add_node(Image(make_image(), format="qcow2").options("disk"))
        with PointInTime(daemon, node) as moment:
            daemon.process.kill()
            with pytest.raises(ConnectionLost, match="signal 9") as caught:
                moment.front.query_info()
            moment.__exit__(ConnectionLost, caught.value, None)
        with pytest.raises(BlockSdkError), PointInTime(daemon, node):
            pass


def test_a_node_that_is_gone_is_named(daemon: StorageDaemon) -> None:
    with (
        pytest.raises(BlockSdkError, match="nowhere"),
        PointInTime(daemon, daemon.node("nowhere")),
    ):
        pass
