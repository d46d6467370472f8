"""vhost-user-blk and VDUSE exports: a guest that boots from a node of another QEMU."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from qemu_blocksdk import VM, FileExport, Node, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    LaunchError,
    StateError,
    UsageError,
)
from tests.live.helpers import left_in, scratch

pytestmark = pytest.mark.timeout(40)

SIZE = 1 << 20
DISK = NullCo(node_name="disk", size=SIZE)
_BOOT = bytes.fromhex(
    "31c0 8ec0 bb007c"  # es:bx = 0:7c00, where the BIOS has put this sector
    "b80103 b90200 30f6 cd13"  # write it to the second sector of the disk (int 13h)
    "88e0 0410 e6f4"  # tell the status of that, 0 for success, plus 16 to isa-debug-exit
    "f4 ebfd"
)
_DONE = 16 * 2 + 1
"""QEMU's exit status for it."""


@pytest.fixture
def disk(daemon: StorageDaemon) -> Node:
    return daemon.add_node(DISK)


@pytest.fixture
def bootable(tmp_path: Path) -> Path:
    """A raw image, whose boot sector writes itself to the sector after it."""
    path = tmp_path / "boot.raw"
    path.write_bytes(_BOOT.ljust(510, b"\0") + b"\x55\xaa" + bytes(SIZE - 512))
    return path


def _guest(export: FileExport, *, num_queues: int = 1) -> VM:
    """A guest whose only disk is the export, with which it has to share its memory."""
    device = f"vhost-user-blk-pci,chardev=export,bootindex=1,num-queues={num_queues}"
    return VM(
        machine="pc,memory-backend=ram",
        accelerator="tcg",
        args=(
            *("-m", "64", "-object", "memory-backend-memfd,id=ram,size=64M,share=on"),
            *("-chardev", f"socket,id=export,path={export.path}", "-device", device),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        ),
    )


@pytest.mark.parametrize("kind", [StorageDaemon, VM])
def test_a_guest_boots_from_an_export_and_writes_to_it(
    kind: type[StorageDaemon | VM], bootable: Path
) -> None:
    with kind() as qemu:
        node = qemu.add_node(File(node_name="boot", filename=str(bootable)))
        with qemu.export_vhost_user_blk(node, writable=True) as export:
            assert export.kind == "vhost-user-blk"
            assert export.path.parent in scratch()
            with _guest(export) as guest:
                assert guest.process.wait(timeout=20) == _DONE
        assert bootable.read_bytes()[512:1024] == bootable.read_bytes()[:512]
        assert not export.path.exists()
        node.delete()


def test_a_guest_cannot_write_to_what_is_not_writable(
    daemon: StorageDaemon, bootable: Path
) -> None:
    node = daemon.add_node(File(node_name="boot", filename=str(bootable), read_only=True))
    with daemon.export_vhost_user_blk(node) as export, _guest(export) as guest:
        assert guest.process.wait(timeout=20) > _DONE
    assert bootable.read_bytes()[512:1024] == bytes(512)


def test_a_guest_loses_its_disk_and_runs_on(daemon: StorageDaemon, disk: Node) -> None:
    with daemon.export_vhost_user_blk(disk, id="one") as export, _guest(export) as guest:
        export.delete()  # QEMU does not count this kind of client
        assert guest.is_running
        with pytest.raises(StateError, match=r"vhost-user-blk export 'one' .*: deleted"):
            export.delete()
        disk.delete()
        assert guest.query_exports() == []


def test_its_options_arrive(daemon: StorageDaemon, disk: Node, tmp_path: Path) -> None:
    with daemon.export_vhost_user_blk(
        disk,
        address=tmp_path / "sock",
        num_queues=2,
        logical_block_size=4096,
        writable=True,
        writethrough=True,
    ) as export:
        assert export.path == tmp_path / "sock"
        assert export.query_info().type == "vhost-user-blk"
        assert repr(export).endswith(f" of 'disk' at {tmp_path / 'sock'}>")
        with _guest(export, num_queues=2) as guest:
            assert guest.is_running
        with pytest.raises(LaunchError, match=r"num-queues.*2"):
            _guest(export, num_queues=3).launch()
    for number in (100, 1 << 30):
        with pytest.raises(CommandError, match="logical-block-size"):
            daemon.export_vhost_user_blk(disk, logical_block_size=number)
    with pytest.raises(CommandError, match="num-queues"):
        daemon.export_vhost_user_blk(disk, num_queues=0)
    with pytest.raises(CommandError, match='iothread "nowhere" not found'):
        daemon.export_vhost_user_blk(disk, iothread="nowhere")


def test_what_is_at_the_path_is_not_replaced(
    daemon: StorageDaemon, disk: Node, tmp_path: Path
) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(UsageError, match="letter' is taken"):
        daemon.export_vhost_user_blk(disk, address=tmp_path / "letter")
    with pytest.raises(UsageError, match="107 at most"):
        daemon.export_vhost_user_blk(disk, address=tmp_path / ("x" * 108))
    assert (tmp_path / "letter").read_text() == "dear"


@pytest.mark.parametrize("is_in_block", [True, False])
def test_no_socket_outlives_a_qemu_that_is_killed(tmp_path: Path, is_in_block: bool) -> None:
    with StorageDaemon() as daemon:
        node = daemon.add_node(DISK)
        export = daemon.export_vhost_user_blk(node, address=tmp_path / "sock")
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait(timeout=5)
        assert left_in(tmp_path)
        if is_in_block:
            begin = time.monotonic()
            with export, pytest.raises(ConnectionLost, match=r"vhost-user-blk export .*del: "):
                export.delete()
            assert time.monotonic() - begin < 1
            assert not left_in(tmp_path)


def test_exports_of_all_kinds_are_listed(daemon: StorageDaemon, disk: Node) -> None:
    with daemon.start_nbd_server() as server:
        made = [daemon.export_vhost_user_blk(disk), server.export(disk)]
        exports = daemon.query_exports()
        assert {export.id: export.kind for export in exports} == {
            export.id: export.kind for export in made
        }
        server.stop()
        made[1].wait_deleted(timeout=0)
        (left,) = daemon.query_exports()
        assert left.kind == "vhost-user-blk"
        left.delete()
        made[0].wait_deleted(timeout=0)


def test_a_node_becomes_a_vduse_device_where_the_kernel_can(
    daemon: StorageDaemon, disk: Node
) -> None:
    def export() -> FileExport:
        return daemon.export_vduse_blk(
            disk, name="blocksdk-test", num_queues=2, queue_size=128, serial="s1", writable=True
        )

    if Path("/dev/vduse/control").exists():
        with export() as device:
            assert (device.kind, device.path) == ("vduse-blk", Path("/dev/vduse/blocksdk-test"))
            assert device.path.exists()
    else:
        with pytest.raises(CommandError, match="failed to create vduse device") as caught:
            export()
        assert str(caught.value).startswith("StorageDaemon ")
    disk.delete()
