"""Test data among real images, and files that are not taken from under a running QEMU."""

from __future__ import annotations

import asyncio
import bz2
import errno
from pathlib import Path

import pytest

from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.blockdev import File, Raw
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.atomic_write import atomic_write
from qemu_blocksdk.tools.testdata import (
    allocated_size,
    find_wrong_marker,
    unpack_sample,
    write_sector_markers,
)
from tests.live.helpers import MakeImage, Script, are_equal, run, wait_until, write_with_qemu_io

pytestmark = pytest.mark.timeout(30)
MIB = 1 << 20


@pytest.mark.parametrize("read_only", [False, True])
def test_image_that_a_daemon_exports_is_not_replaced(
    tmp_path: Path, daemon: StorageDaemon, read_only: bool
) -> None:
    path = tmp_path / "disk"
    write_sector_markers(path, MIB)
    file = File(filename=str(path), read_only=read_only)
    node = daemon.add_node(Raw(node_name="disk", read_only=read_only, file=file))
    with daemon.start_nbd_server() as server:
        with server.export(node, writable=not read_only):
            with pytest.raises(UsageError, match="disk' is in use by a running QEMU"):
                write_sector_markers(path, 2 * MIB, replace=True)
            assert path.stat().st_size == MIB
        write_sector_markers(path, 2 * MIB, replace=True)
    assert path.stat().st_size == 2 * MIB
    assert [*tmp_path.iterdir()] == [path]


def test_image_that_a_daemon_opens_meanwhile_is_not_replaced(
    tmp_path: Path, daemon: StorageDaemon, make_image: MakeImage
) -> None:
    path = make_image()
    before = path.stat().st_ino
    with (  # noqa: PT012
        pytest.raises(UsageError, match="in use by a running QEMU"),
        atomic_write(path, replace=True) as draft,
    ):
        run("qemu-img", "create", "-q", "-f", "qcow2", draft, "1M")
        daemon.add_node(Image(path, format="qcow2").options("disk"))
    assert path.stat().st_ino == before
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("replace", [True, False])
def test_image_of_several_files_finds_them_at_its_final_place(
    tmp_path: Path, replace: bool
) -> None:
    path = tmp_path / "disk.vmdk"
    split = ["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]
    with atomic_write(path, replace=replace) as draft:
        run("qemu-img", "create", "-q", *split, draft, "5G")
    names = {"disk.vmdk", "disk-s001.vmdk", "disk-s002.vmdk", "disk-s003.vmdk"}
    assert {file.name for file in tmp_path.iterdir()} == names
    write_with_qemu_io(path, "write -P 7 4G 1M", "read -P 7 4G 1M", fmt="vmdk")


def test_what_a_guest_wrote_is_no_marker(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    write_sector_markers(path, 4 * MIB)
    write_with_qemu_io(path, f"write -P 7 {3 * MIB + 512} 512", fmt="raw")
    assert find_wrong_marker(path) == 3 * MIB // 512 + 1


def test_sample_is_the_image_that_was_packed(tmp_path: Path, make_image: MakeImage) -> None:
    image = make_image(write="-P 7 1M 64k")
    sample = tmp_path / "sample.bz2"
    sample.write_bytes(bz2.compress(image.read_bytes()))
    unpack_sample(sample, tmp_path / "unpacked.qcow2")
    assert are_equal(image, tmp_path / "unpacked.qcow2")
    run("qemu-img", "check", tmp_path / "unpacked.qcow2")


def test_full_disk_leaves_nothing_and_the_old_image(full_disk: Path, tmp_path: Path) -> None:
    sample = tmp_path / "sample.bz2"
    sample.write_bytes(bz2.compress(b"x" * 4 * MIB))
    path = full_disk / "disk"
    write_sector_markers(path, 512)
    with pytest.raises(OSError, match="No space left") as first:
        write_sector_markers(path, 4 * MIB, replace=True)
    with pytest.raises(OSError, match="No space left") as second:
        unpack_sample(sample, path, replace=True)
    assert first.value.errno == second.value.errno == errno.ENOSPC
    assert [*full_disk.iterdir()] == [path]
    assert path.stat().st_size == 512


_WRITING = """
import sys
from qemu_blocksdk.tools.testdata import write_sector_markers

try:
    write_sector_markers(sys.argv[1], 8 << 30)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Script(tmp_path, _WRITING, str(folder / "disk")) as script:
        wait_until(
            lambda: sum(map(allocated_size, folder.glob("*/disk"))) > MIB, what="half an image"
        )
        script.interrupt()
        assert script.finish() == "interrupted\n"
    assert [*folder.iterdir()] == []


def test_a_marked_image_and_a_sample_become_images(tmp_path: Path) -> None:
    marked = Image.create_marked(tmp_path / "marked", "1M")
    assert find_wrong_marker(marked.path) is None
    (tmp_path / "sample.bz2").write_bytes(bz2.compress(marked.path.read_bytes()))
    sample = Image.unpack_sample(tmp_path / "sample.bz2", tmp_path / "sample", format="raw")
    assert sample.compare(marked).is_equal


def test_a_cancelled_marked_image_leaves_nothing(tmp_path: Path) -> None:
    def has_begun() -> bool:
        return bool(list(tmp_path.glob(".blocksdk-*/marked")))

    async def main() -> None:
        task = asyncio.create_task(AsyncImage.create_marked(tmp_path / "marked", "64G"))
        await asyncio.to_thread(wait_until, has_begun, what="the draft")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []
