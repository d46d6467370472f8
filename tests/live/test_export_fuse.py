"""FUSE exports: a node that is a raw image in the file system, and what is left of its mount."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Node, StorageDaemon
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.errors import BlockSdkError, CommandError, ConnectionLost, Unsupported
from tests.live.helpers import MakeImage, run

pytestmark = pytest.mark.timeout(30)

SIZE = 1 << 20


def _options(make_image: MakeImage) -> Qcow2:
    path = make_image(size="1M", write="-P 7 0 64k")
    return Qcow2(node_name="disk", file=File(filename=str(path)))


@pytest.fixture
def disk(daemon: StorageDaemon, make_image: MakeImage) -> Node:
    """An image of 1 MiB with sevens in its first 64 KiB."""
    return daemon.add_node(_options(make_image))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file to mount over, under a name that the kernel's table of mounts has to escape."""
    path = tmp_path / "a b\\c"
    path.write_text("under the mount")
    yield path
    assert not _is_mounted(path)
    assert path.read_text() == "under the mount"


@pytest.fixture
def mountable(daemon: StorageDaemon, disk: Node, tmp_path: Path) -> None:
    """Skips where no node can be mounted."""
    probe = tmp_path / "probe"
    probe.touch()
    try:
        daemon.export_fuse(disk, mountpoint=probe).delete()
    except Unsupported:
        pytest.skip("a QEMU that was built with FUSE")
    except CommandError as error:
        pytest.skip(f"a machine that lets QEMU mount: {error.desc}")


def _is_mounted(path: Path) -> bool:
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040")
    return escaped in Path("/proc/self/mounts").read_text()


def test_a_node_is_mounted_or_it_is_told_why_not(
    daemon: StorageDaemon, disk: Node, file: Path
) -> None:
    told: BlockSdkError | None = None
    try:
        with daemon.export_fuse(disk, mountpoint=file):
            assert file.read_bytes()[: 64 << 10] == b"\7" * (64 << 10)
    except BlockSdkError as error:
        told = error
    if "type=]fuse" not in run("qemu-storage-daemon", "--help"):
        assert isinstance(told, Unsupported)
    elif told is not None:  # it is in use, or the machine has no FUSE
        assert isinstance(told, CommandError)


@pytest.mark.usefixtures("mountable")
class TestMounted:
    def test_the_file_is_the_image_for_a_while(
        self, daemon: StorageDaemon, disk: Node, file: Path
    ) -> None:
        with daemon.export_fuse(disk, mountpoint=file, id="mount") as export:
            assert (export.kind, export.path) == ("fuse", file)
            assert repr(export) == f"<fuse export 'mount' of 'disk' at {file}>"
            assert export.query_info().type == "fuse"
            assert file.stat().st_size == SIZE
            with pytest.raises(OSError, match=r"Permission denied|Read-only|not permitted"):
                _write(file)

    def test_writes_arrive(self, daemon: StorageDaemon, disk: Node, file: Path) -> None:
        with daemon.export_fuse(disk, mountpoint=file, writable=True):
            _write(file)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                _write(file, at=SIZE)
        with daemon.export_fuse(disk, mountpoint=file, writable=True, growable=True):
            assert file.read_bytes()[511:513] == b"x\7"
            _write(file, at=SIZE)
            assert file.stat().st_size == SIZE + 512

    def test_a_vm_exports_as_well(self, make_image: MakeImage, file: Path, disk: Node) -> None:
        disk.delete()
        with VM() as vm:
            node = vm.add_node(_options(make_image))
            with vm.export_fuse(node, mountpoint=file, allow_other="off"):
                assert file.read_bytes()[:1] == b"\7"

    def test_a_link_to_a_file_is_followed(
        self, daemon: StorageDaemon, disk: Node, file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to(file)
        with daemon.export_fuse(disk, mountpoint=tmp_path / "link") as export:
            assert export.path == file
            assert (tmp_path / "link").stat().st_size == SIZE

    def test_an_open_file_does_not_hold_up_a_safe_removal(
        self, daemon: StorageDaemon, disk: Node, file: Path
    ) -> None:
        export = daemon.export_fuse(disk, mountpoint=file)
        descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT)
        export.delete()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            os.close(descriptor)
        disk.delete()

    def test_what_cannot_be_mounted_over_is_told(
        self, daemon: StorageDaemon, disk: Node, file: Path, tmp_path: Path
    ) -> None:
        for path, words in ((tmp_path, "not a regular file"), (tmp_path / "x", "No such file")):
            with pytest.raises(CommandError, match=words):
                daemon.export_fuse(disk, mountpoint=path)
        with daemon.export_fuse(disk, mountpoint=file):
            with pytest.raises(CommandError, match="already is a FUSE export"):
                daemon.export_fuse(disk, mountpoint=file)
            assert file.stat().st_size == SIZE

    @pytest.mark.parametrize("way", ["stop", "SIGTERM", "SIGKILL"])
    @pytest.mark.parametrize("is_in_block", [True, False])
    def test_no_mount_outlives_qemu(
        self, make_image: MakeImage, file: Path, disk: Node, way: str, is_in_block: bool
    ) -> None:
        disk.delete()
        with StorageDaemon() as daemon:
            export = daemon.export_fuse(daemon.add_node(_options(make_image)), mountpoint=file)
            if is_in_block:
                with export:
                    _end(daemon, way)
                assert not _is_mounted(file)
            else:
                _end(daemon, way)

    def test_the_mount_of_one_that_is_attached_to_goes_when_that_is_killed(
        self, make_image: MakeImage, file: Path, disk: Node, tmp_path: Path
    ) -> None:
        disk.delete()
        with (
            StorageDaemon(monitors=[tmp_path / "qmp"]) as owner,
            StorageDaemon.attach(tmp_path / "qmp") as attached,
        ):
            with attached.export_fuse(attached.add_node(_options(make_image)), mountpoint=file):
                os.kill(owner.process.pid, signal.SIGKILL)
                owner.process.wait(timeout=5)
                assert _is_mounted(file)
            assert not _is_mounted(file)

    def test_a_mount_of_another_qemu_in_its_place_stays(
        self, daemon: StorageDaemon, disk: Node, make_image: MakeImage, file: Path
    ) -> None:
        with StorageDaemon() as second:
            other = File(filename=str(make_image("other.qcow2", size="2M")))
            node = second.add_node(Qcow2(node_name="other", file=other))
            with daemon.export_fuse(disk, mountpoint=file):
                os.kill(daemon.process.pid, signal.SIGKILL)
                daemon.process.wait(timeout=5)
                run("umount", "--lazy", file)
                export = second.export_fuse(node, mountpoint=file)
            assert file.stat().st_size == 2 << 20
            export.delete()

    def test_leaving_the_block_while_qemu_hangs_has_a_limit(
        self, monkeypatch: pytest.MonkeyPatch, daemon: StorageDaemon, disk: Node, file: Path
    ) -> None:
        monkeypatch.setattr("qemu_blocksdk.qmp.cancellation.CLEANUP_TIMEOUT", 0.3)
        with daemon.export_fuse(disk, mountpoint=file):
            os.kill(daemon.process.pid, signal.SIGSTOP)
            begin = time.monotonic()
        assert time.monotonic() - begin < 3
        assert _is_mounted(file)  # by one who may recover
        daemon.stop(grace=0.1)
        assert not _is_mounted(file)

    def test_its_verbs_tell_that_qemu_was_killed(
        self, daemon: StorageDaemon, disk: Node, file: Path
    ) -> None:
        with daemon.export_fuse(disk, mountpoint=file) as export:
            os.kill(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait(timeout=5)
            with pytest.raises(ConnectionLost, match=r"fuse export .*: block-export-del"):
                export.delete()
            with pytest.raises(ConnectionLost, match=r"StorageDaemon .*: block-export-add"):
                daemon.export_fuse(disk, mountpoint=file)


def _write(path: Path, *, at: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        # Beyond the end, QEMU 11.1 writes none, where an older one has an error.
        if os.pwrite(descriptor, b"x" * 512, at) < 512:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    finally:
        os.close(descriptor)


def _end(daemon: StorageDaemon, way: str) -> None:
    if way == "stop":
        daemon.stop()
    else:
        os.kill(daemon.process.pid, getattr(signal, way))
        daemon.process.wait(timeout=5)
