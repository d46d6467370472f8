"""qemu-io as an object: what each verb does to an image, and what it tells of that."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from qemu_blocksdk import Image, QemuIo, StorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, Raw
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import ToolError, UsageError
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.qemu_io import IoExtent
from qemu_blocksdk.tools.words import CacheMode
from tests.live.helpers import MakeImage, run, with_mark
from tests.live.test_probe import luks

pytestmark = pytest.mark.timeout(20)

KIB = 1 << 10
MIB = 1 << 20


def raw_image(path: Path, content: bytes = bytes(MIB)) -> Image:
    path.write_bytes(content)
    return Image(path, format="raw")


@pytest.fixture
def qcow2(make_image: MakeImage) -> Image:
    """An empty image of 16 MiB."""
    return Image(make_image(), format="qcow2")


# -- reading and writing --------------------------------------------------------------------


def test_what_is_written_is_read_and_both_say_how_much(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        written = io.write(MIB, 64 * KIB, pattern=7)
        assert (written.operation, written.offset) == ("write", MIB)
        assert (written.bytes_done, written.bytes_asked) == (64 * KIB, 64 * KIB)
        assert written.operations == 1
        assert written.elapsed is not None
        assert 0 < written.elapsed < 10
        assert written.pattern_matches is None
        assert io.read(MIB, 64 * KIB).pattern_matches is None
        assert io.read(MIB, 64 * KIB, pattern=7).pattern_matches is True
        assert io.read(MIB, 64 * KIB, pattern=8).pattern_matches is False


def test_a_pattern_can_be_looked_for_in_a_part(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        io.write(512, 512, pattern=1)
        assert io.read(0, 1024, pattern=1).pattern_matches is False
        part = io.read(0, 1024, pattern=1, pattern_offset=512, pattern_length=512)
        assert part.pattern_matches is True
        with pytest.raises(UsageError, match="no pattern"):
            io.read(0, 512, pattern_length=512)


@pytest.mark.parametrize("offset", [0, 1, (4 << 30) - 24])
def test_data_is_read_as_it_is(tmp_path: Path, offset: int) -> None:
    content = b"qemu-io> ops; failed: blkdebug: " + random.Random(1).randbytes(5000)
    with (tmp_path / "image").open("wb") as file:
        file.seek(offset)
        file.write(content)
    with QemuIo(Image(tmp_path / "image", format="raw")) as io:
        assert io.read_data(offset, len(content)) == content
        assert io.read_data(offset, 3) == content[:3]
        assert io.read_data(offset, 0) == b""


def test_a_wrong_byte_is_told_with_its_place(tmp_path: Path) -> None:
    content = bytes(2 * MIB + 5) + b"A" + bytes(MIB - 6)
    with QemuIo(raw_image(tmp_path / "image", content)) as io:
        io.assert_pattern(0, 2 * MIB, pattern=0)
        with pytest.raises(AssertionError, match=f"at {2 * MIB + 5} is 0x41, not 0x00"):
            io.assert_pattern(0, 3 * MIB, pattern=0)


def test_vectors_are_one_request(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        assert io.writev(0, 512, 1024, pattern=3).bytes_done == 1536
        assert io.readv(0, 1024, 512, pattern=3).pattern_matches is True
        assert io.readv(512, 2048, pattern=3).pattern_matches is False


@pytest.mark.parametrize("name", ["plain", "a,b=c", "quo'te\"", "-o", "tab\tt", "\udcff.bin"])
def test_a_file_is_written_and_repeated(qcow2: Image, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"abc")
    with QemuIo(qcow2) as io:
        io.write(0, 7, source_file=tmp_path / name)
        assert io.read_data(0, 8) == b"abcabca\0"


@pytest.mark.parametrize("name", ["with space", "new\nline", "nul\0", "x" * 1000])
def test_a_file_that_qemu_io_cannot_be_told_of_is_refused(qcow2: Image, name: str) -> None:
    with QemuIo(qcow2) as io:
        with pytest.raises(UsageError):
            io.write(0, 512, source_file=f"/{name}{'y' * 30 * (len(name) > 500)}")
        with pytest.raises(UsageError, match="not both"):
            io.write(0, 512, source_file="file", pattern=1)
        assert io.length() == 16 * MIB


def test_zeroes_compressed_data_and_vm_state_are_written(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        io.write(0, 64 * KIB, pattern=9, compressed=True)
        assert io.read(0, 64 * KIB, pattern=9).pattern_matches is True
        io.write(0, 64 * KIB, pattern=5, fua=True)
        io.write_zeroes(0, 4 * KIB)
        assert io.read(0, 4 * KIB, pattern=0).pattern_matches is True
        assert io.read(4 * KIB, 4 * KIB, pattern=5).pattern_matches is True
        io.write(0, 512, pattern=6, vmstate=True)
        assert io.read_data(0, 512, vmstate=True) == b"\6" * 512
        assert io.read(0, 512, pattern=6).pattern_matches is False


def test_discarded_space_is_given_back_where_that_is_wanted(tmp_path: Path) -> None:
    target = raw_image(tmp_path / "image", b"\1" * MIB)
    path = tmp_path / "image"
    with QemuIo(target, discard="ignore") as io:
        assert io.discard(0, MIB).bytes_done == MIB
    full = path.stat().st_blocks
    with QemuIo(target, discard="unmap") as io:
        io.discard(0, MIB)
        assert io.read(0, MIB, pattern=0).pattern_matches is True
    assert path.stat().st_blocks < full


# -- the image --------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 512, 1 << 20, 64 * MIB + 512, (1 << 40) - 512])
def test_the_length_is_exact(tmp_path: Path, length: int) -> None:
    (tmp_path / "image").touch()
    os.truncate(tmp_path / "image", length)
    with QemuIo(Image(tmp_path / "image", format="raw"), read_only=True) as io:
        assert io.length() == length


def test_what_is_allocated_is_told(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        io.write(64 * KIB, 64 * KIB)
        assert io.map() == (
            IoExtent(offset=0, length=64 * KIB, allocated=False),
            IoExtent(offset=64 * KIB, length=64 * KIB, allocated=True),
            IoExtent(offset=128 * KIB, length=16 * MIB - 128 * KIB, allocated=False),
        )
        assert io.alloc(0) == 0
        assert io.alloc(0, 96 * KIB) == 32 * KIB
        assert io.alloc(1 << 50) == 0


def test_an_image_is_made_longer_and_shorter(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        io.truncate(32 * MIB)
        assert io.alloc(16 * MIB, 16 * MIB) == 0
        io.truncate(48 * MIB, preallocation="metadata")
        assert io.alloc(32 * MIB, 16 * MIB) == 16 * MIB
        io.truncate(MIB)
        assert io.length() == MIB


def test_the_driver_tells_of_the_image(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        info = io.info()
    assert (info.format, info.cluster_size) == ("qcow2", 64 * KIB)
    assert "refcount bits: 16" in info.text


def test_an_image_is_reopened_read_only_and_back(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        io.reopen(read_only=True)
        with pytest.raises(ToolError, match="read-only"):
            io.write(0, 512)
        io.reopen(read_only=False, cache="writeback", options={"lazy-refcounts": "on"})
        io.write(0, 512)
        with pytest.raises(ToolError, match="'a,b' for qcow2 option 'overlap-check'"):
            io.reopen(options={"overlap-check": "a,b"})


def test_a_session_with_a_snapshot_leaves_the_image_as_it_was(tmp_path: Path) -> None:
    target = raw_image(tmp_path / "image")
    with QemuIo(target, snapshot=True) as io:
        io.write(0, MIB, pattern=1)
        assert io.read(0, MIB, pattern=1).pattern_matches is True
    assert (tmp_path / "image").read_bytes() == bytes(MIB)


def test_copy_on_read_keeps_what_is_read(make_image: MakeImage) -> None:
    base = make_image("base", write="-P 1 0 1M")
    overlay = Image(make_image("overlay", backing=base), format="qcow2")
    with QemuIo(overlay, copy_on_read=True) as io:
        assert io.alloc(0, MIB) == 0
        assert io.read(0, MIB, pattern=1).pattern_matches is True
        assert io.alloc(0, MIB) == MIB


@pytest.mark.parametrize("cache", ["writeback", "writethrough", "unsafe"])
@pytest.mark.parametrize("misalign", [False, True])
def test_however_it_is_opened_an_image_is_read_and_written(
    qcow2: Image, cache: CacheMode, misalign: bool
) -> None:
    with QemuIo(qcow2, cache=cache, aio="threads", misalign=misalign) as io:
        io.write(513, 1, pattern=1)
        assert io.read_data(512, 3) == b"\0\1\0"
        with pytest.raises(ToolError) as caught:
            io.read(1 << 40, 1)
    given = caught.value.argv[1:-4]
    assert given == (*["-m"] * misalign, "-t", cache, "-i", "threads")


def test_time_passes_in_qemu_io(qcow2: Image) -> None:
    with QemuIo(qcow2, timeout=0.5) as io:
        io.sleep(0.6)
        with pytest.raises(UsageError):
            io.sleep(-1)


# -- failures ---------------------------------------------------------------------------------


def test_a_request_that_fails_is_an_error_and_the_session_goes_on(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        with pytest.raises(ToolError, match="read failed: Input/output error") as caught:
            io.read(1 << 40, 512)
        assert caught.value.exit_status is None
        assert caught.value.argv[0] == "qemu-io"
        assert "\n" not in str(caught.value)
        with pytest.raises(ToolError, match="readv failed"):
            io.readv(1 << 40, 512)
        with pytest.raises(ToolError, match="No such file"):
            io.write(0, 512, source_file="/nowhere")
        with pytest.raises(ToolError, match="cannot exceed"):
            io.write(0, 5 << 30)
        with pytest.raises(ToolError, match="Invalid argument"):
            io.write(1 * KIB, 512, compressed=True)
        assert io.write(0, 512).bytes_done == 512


def test_a_full_disk_is_told(full_disk: Path) -> None:
    (full_disk / "image").touch()
    os.truncate(full_disk / "image", 4 * MIB)
    with QemuIo(Image(full_disk / "image", format="raw")) as io:
        with pytest.raises(ToolError, match="No space left on device"):
            io.write(0, 4 * MIB)
        assert io.length() == 4 * MIB


def test_what_cannot_be_right_is_refused_before_it_is_sent(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        for offset, length in ((-1, 512), (0, -512), (1 << 63, 512)):
            with pytest.raises(UsageError):
                io.read(offset, length)
            with pytest.raises(UsageError):
                io.write_zeroes(offset, length)
        with pytest.raises(UsageError, match="0 to 255"):
            io.write(0, 512, pattern=256)
        with pytest.raises(UsageError):
            io.truncate(-1)
        with pytest.raises(UsageError, match="what length"):
            io.readv(0)
        assert io.map()[0].allocated is False


def test_a_flush_that_failed_is_told_where_commands_are_run_in_one_go(tmp_path: Path) -> None:
    raw_image(tmp_path / "image")
    rule = BlkdebugInjectErrorOptions(event="flush_to_disk", errno=5)
    inner = File(filename=str(tmp_path / "image"))
    debug = Blkdebug(image=inner, inject_error=[rule])
    io = QemuIo(Image.from_options(Raw(file=debug)), cache="writeback")
    with pytest.raises(ToolError):
        io.run_commands("write 0 512", "flush")
    with io:
        io.write(0, 512)
        io.flush()


# -- any command ------------------------------------------------------------------------------


def test_a_raw_command_gives_all_that_was_printed(qcow2: Image) -> None:
    with QemuIo(qcow2) as io:
        assert io.raw("length") == "16 MiB\n"
        assert io.raw("read 0 512").startswith("read 512/512 bytes at offset 0\n")
        assert io.raw("no-such") == 'command "no-such" not found\n'
        assert len(io.raw("read -v 0 256k").splitlines()) == 256 * KIB // 16 + 2
        for command in ("quit", "length\nlength", ""):
            with pytest.raises(UsageError):
                io.raw(command)


def test_commands_are_run_in_one_go(qcow2: Image) -> None:
    io = QemuIo(qcow2)
    done = io.run_commands("write -P 1 0 512", "read -P 1 0 512")
    assert "wrote 512/512" in done.stdout
    with pytest.raises(ToolError, match="not found") as caught:
        io.run_commands("no-such", "length")
    assert caught.value.exit_status == 1
    failed = io.run_commands("no-such", "length", accept_failure=True)
    assert (failed.exit_status, failed.stdout) == (1, "16 MiB\n")
    for commands in ((), ("quit",), ("length", "length\nlength")):
        with pytest.raises(UsageError):
            io.run_commands(*commands)


# -- what can be opened -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a,b=c", "nbd:x", "json:{}", "-o", "with space", "new\nline", "\udcff"]
)
def test_a_name_is_never_taken_for_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw_image(Path(name), b"\5" * 512)
    with QemuIo(Image(name, format="raw")) as io:
        assert io.read_data(0, 512) == b"\5" * 512


def test_an_export_is_reached_by_its_uri(daemon: StorageDaemon, tmp_path: Path) -> None:
    raw_image(tmp_path / "image")
    node = daemon.add_node(Raw(node_name="disk", file=File(filename=str(tmp_path / "image"))))
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        export.write(0, 512, pattern=4)
        with QemuIo(Image.at_uri(export.uri)) as io:
            assert io.read(0, 512, pattern=4).pattern_matches is True
            assert io.length() == MIB
        with pytest.raises(ToolError, match="not available"):
            QemuIo(Image.at_uri(str(export.uri).replace("disk", "other"))).open()


def test_an_encrypted_image_is_opened_and_no_one_sees_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "image"
    (tmp_path / "key").write_text("abc-very-secret")
    run(
        *("qemu-img", "create", "-q", "-f", "qcow2"),
        *("--object", f"secret,id=s,file={tmp_path / 'key'}"),
        *("-o", "encrypt.format=aes,encrypt.key-secret=s", path, "1M"),
    )
    target = Image(path, format="qcow2", secret=Secret("abc-very-secret"))
    with QemuIo(target) as io:
        io.write(0, 512, pattern=7)
        (pid,) = with_mark(str(path))
        assert b"very-secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert io.read(0, 512, pattern=7).pattern_matches is True
    assert b"\7" * 512 not in path.read_bytes()


def test_a_secret_that_does_not_open_a_luks_container_is_told(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(luks())
    target = Image(tmp_path / "image", format="luks", secret=Secret("abc"))
    with pytest.raises(ToolError, match="Invalid password"):
        QemuIo(target).open()


def test_options_of_the_program_are_kept(qcow2: Image) -> None:
    read_only = Programs(qemu_io=("qemu-io", "-r"))
    with (
        QemuIo(Image(qcow2.path, format="qcow2", programs=read_only)) as io,
        pytest.raises(ToolError, match="read-only"),
    ):
        io.write(0, 512)
