"""What the tools do with images, in each format of the matrix."""

import pytest

from qemu_blocksdk import Image, QemuIo
from qemu_blocksdk.errors import ToolError, UsageError
from qemu_blocksdk.testing import ImageFactory, NbdServerFactory, TestEnv

MIB = 1 << 20


def test_what_is_written_is_read_again(image: ImageFactory) -> None:
    with QemuIo(image("disk", 16 * MIB)) as io:
        io.write(MIB, 2 * MIB, pattern=7)
        io.assert_pattern(MIB, 2 * MIB, pattern=7)
        assert not io.read(2 * MIB, MIB, pattern=8).pattern_matches


@pytest.mark.not_formats("luks")  # zeros on the disk are noise once they are deciphered
def test_a_new_image_reads_as_zeros(image: ImageFactory) -> None:
    with QemuIo(image("disk", 16 * MIB)) as io:
        io.assert_pattern(0, 16 * MIB, pattern=0)


def test_an_image_that_grows_keeps_its_content(image: ImageFactory) -> None:
    disk = image("disk", 16 * MIB)
    with QemuIo(disk) as io:
        io.write(15 * MIB, MIB, pattern=7)
    disk.resize("32M")
    assert disk.info().virtual_size == 32 * MIB
    with QemuIo(disk) as io:
        io.assert_pattern(15 * MIB, MIB, pattern=7)


def test_a_copy_in_another_format_is_equal(image: ImageFactory) -> None:
    disk, copy = image("disk", 16 * MIB), image("copy", 16 * MIB, format="qcow2")
    with QemuIo(disk) as io:
        io.write(0, 16 * MIB, pattern=7)
    assert not disk.compare(copy).is_equal
    disk.convert(copy, replace=True, timeout=30)
    assert disk.compare(copy).is_equal


@pytest.mark.formats("qcow2")
def test_the_check_finds_what_is_leaked(image: ImageFactory) -> None:
    found = image("disk", 16 * MIB).check()
    assert (found.corruptions, found.leaks) == (None, None)


@pytest.mark.not_formats("luks")
def test_the_map_tells_where_there_is_data(image: ImageFactory) -> None:
    disk = image("disk", 16 * MIB)
    with QemuIo(disk) as io:
        io.write(4 * MIB, MIB, pattern=7)
    assert (4 * MIB, MIB) in [(entry.start, entry.length) for entry in disk.map() if entry.data]


@pytest.mark.formats("qcow2", "raw")
def test_an_image_is_no_larger_than_it_was_measured(image: ImageFactory, test_env: TestEnv) -> None:
    disk, copy = image("disk", 16 * MIB, format="raw"), image("copy", 16 * MIB)
    with QemuIo(disk) as io:
        io.write(0, 3 * MIB, pattern=7)
    measured = disk.measure("qcow2" if test_env.imgfmt == "qcow2" else "raw")
    disk.convert(copy, replace=True, timeout=30)
    assert copy.path.stat().st_size <= measured.required


@pytest.mark.formats("qcow2")
def test_a_commit_brings_the_overlay_into_its_backing_file(image: ImageFactory) -> None:
    base = image("base", 16 * MIB)
    with QemuIo(base) as io:
        io.write(0, 2 * MIB, pattern=1)
    overlay = image("overlay", backing=base)
    with QemuIo(overlay) as io:
        io.write(MIB, MIB, pattern=2)
    overlay.commit(timeout=30)
    with QemuIo(base) as io:
        io.assert_pattern(0, MIB, pattern=1)
        io.assert_pattern(MIB, MIB, pattern=2)


@pytest.mark.formats("qcow2")
def test_an_internal_snapshot_brings_back_what_was(image: ImageFactory) -> None:
    disk = image("disk", 16 * MIB)
    with QemuIo(disk) as io:
        io.write(0, MIB, pattern=1)
    disk.create_snapshot("before")
    with QemuIo(disk) as io:
        io.write(0, MIB, pattern=2)
    disk.apply_snapshot("before")
    with QemuIo(disk) as io:
        io.assert_pattern(0, MIB, pattern=1)
    assert [snapshot.name for snapshot in disk.snapshots()] == ["before"]


def test_a_server_offers_what_the_image_holds(
    image: ImageFactory, nbd_server: NbdServerFactory
) -> None:
    disk = image("disk", 16 * MIB)
    server = nbd_server(disk)
    offered = Image.at_uri(server.uri)
    with QemuIo(offered) as io:
        io.write(MIB, MIB, pattern=7)
    assert server.stop() == 0
    with QemuIo(disk) as io:
        io.assert_pattern(MIB, MIB, pattern=7)


def test_an_image_is_not_made_twice(image: ImageFactory) -> None:
    disk = image("disk", 16 * MIB)
    with pytest.raises((UsageError, OSError)):
        image("disk", 16 * MIB)
    assert disk.info().virtual_size == 16 * MIB


@pytest.mark.formats("luks")
@pytest.mark.requires(luks=True)
def test_nobody_opens_an_encrypted_image_without_its_key(image: ImageFactory) -> None:
    disk = image("disk", 16 * MIB)
    locked = Image(disk.path, format="luks")
    with pytest.raises(ToolError, match="key-secret"), QemuIo(locked):
        pass
