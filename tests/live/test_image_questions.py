"""What an image is asked."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import struct
from pathlib import Path

import pytest

from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, ToolError, UsageError
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.creation import CreateVmdk
from tests.fuzz.tools import fuzz_results
from tests.live.helpers import MakeImage, Script, run, wait_until, with_mark, write_with_qemu_io

MIB = 1 << 20


def corrupt_refcounts(path: Path) -> None:
    """Let the refcount table of a qcow2 image point to where no block can be."""
    with path.open("r+b") as file:
        file.seek(48)
        (table,) = struct.unpack(">Q", file.read(8))
        file.seek(table)
        file.write(struct.pack(">Q", 0x123400))


def leak_a_cluster(path: Path) -> None:
    """Let the image own a cluster that nothing refers to."""
    with path.open("r+b") as file:
        file.seek(48)
        (table,) = struct.unpack(">Q", file.read(8))
        file.seek(table)
        (block,) = struct.unpack(">Q", file.read(8))
        size = path.stat().st_size // 65536
        file.seek(block + 2 * size)
        file.write(struct.pack(">H", 1))
        file.truncate((size + 1) * 65536)


def test_info_tells_what_only_the_format_has(make_image: MakeImage) -> None:
    image = Image(make_image(), format="qcow2")
    image.create_snapshot("first")
    image.add_bitmap("b0", disabled=True)
    info = image.info()
    assert (info.virtual_size, info.format, info.cluster_size) == (16 * MIB, "qcow2", 65536)
    assert info.qcow2 is not None
    assert info.qcow2.compression_type == "zlib"
    assert [(b.name, list(b.flags)) for b in info.qcow2.bitmaps or ()] == [("b0", [])]
    assert [snapshot.name for snapshot in image.snapshots()] == ["first"]
    assert (info.vmdk, info.luks) == (None, None)


def test_info_of_vmdk_tells_its_extents(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk", format="vmdk")
    image.create(MIB, CreateVmdk(subformat="monolithicFlat"))
    vmdk = image.info().vmdk
    assert vmdk is not None
    assert [extent.virtual_size for extent in vmdk.extents] == [MIB]


def test_a_locked_image_is_read_when_forced(make_image: MakeImage, daemon: StorageDaemon) -> None:
    image = Image(make_image(), format="qcow2")
    daemon.add_node(image.options("disk"))
    with pytest.raises(ToolError, match="lock"):
        image.info()
    assert image.info(force_share=True).virtual_size == 16 * MIB
    with pytest.raises(ToolError, match="lock"):
        image.info(untrusted=True)
    assert image.info(untrusted=True, force_share=True).virtual_size == 16 * MIB
    assert image.check(force_share=True).is_clean
    assert image.map(force_share=True)[0].length == 16 * MIB
    assert image.snapshots(force_share=True) == ()


def test_a_sound_image_is_clean(make_image: MakeImage) -> None:
    found = Image(make_image(write="0 1M"), format="qcow2").check()
    assert found.is_clean
    assert (found.total_clusters, found.allocated_clusters) == (256, 16)
    assert found.fragmentation == 0.0


def test_leaks_are_told_and_repaired(make_image: MakeImage) -> None:
    path = make_image(write="0 1M")
    leak_a_cluster(path)
    image = Image(path, format="qcow2")
    found = image.check()
    assert (found.is_clean, found.leaks, found.corruptions) == (False, 1, None)
    assert image.repair().leaks_fixed == 1
    assert image.check().is_clean


def test_a_corrupt_refcount_table_is_a_finding(make_image: MakeImage) -> None:
    path = make_image(write="0 1M")
    corrupt_refcounts(path)
    image = Image(path, format="qcow2")
    found = image.check()
    assert not found.is_clean
    assert found.corruptions == 1
    assert found.check_errors > 0
    assert image.info().virtual_size == 16 * MIB


def test_a_format_without_checks_is_told(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk", format="raw")
    image.create(MIB)
    with pytest.raises(ToolError, match="does not support checks") as caught:
        image.check()
    assert caught.value.exit_status == 63


def test_the_map_tells_data_zeros_and_depth(make_image: MakeImage) -> None:
    base = make_image("base", size="4M", write="-P 1 0 1M")
    top = make_image("top", size="4M", backing=base, write="-P 2 1M 1M")
    write_with_qemu_io(top, "write -z 2M 1M")
    entries = Image(top, format="qcow2").map()
    assert [(e.start, e.length, e.data, e.zero, e.depth) for e in entries][:3] == [
        (0, MIB, True, False, 1),
        (MIB, MIB, True, False, 0),
        (2 * MIB, MIB, False, True, 0),
    ]
    part = Image(top, format="qcow2").map(start="1M", length=512)
    assert [(e.start, e.length) for e in part] == [(MIB, 512)]


def test_measuring_agrees_with_making(make_image: MakeImage, tmp_path: Path) -> None:
    image = Image(make_image(write="0 3M"), format="qcow2")
    measured = image.measure("qcow2")
    copy = Image(tmp_path / "copy", format="qcow2")
    image.convert(copy)
    assert copy.path.stat().st_size <= measured.required < measured.fully_allocated
    assert Image.measure_size("1G", "raw").required == 1 << 30


def test_comparing_tells_where(tmp_path: Path) -> None:
    one, other = (Image(tmp_path / name, format="raw") for name in ("one", "other"))
    one.path.write_bytes(bytes(MIB))
    other.path.write_bytes(bytes(MIB // 2) + b"x" + bytes(MIB // 2 - 1))
    found = one.compare(other)
    assert (found.is_equal, found.difference, found.differs_at) == (False, "content", MIB // 2)
    other.path.write_bytes(bytes(MIB + 512))
    assert (found := one.compare(other)).is_equal
    assert found.sizes_differ
    found = one.compare(other, strict=True)
    assert (found.difference, found.differs_at) == ("size", None)
    with other.path.open("wb") as file:
        file.truncate(MIB)
    found = one.compare(other, strict=True)
    assert (found.difference, found.differs_at) == ("allocation", 0)


def test_requests_are_timed(make_image: MakeImage) -> None:
    image = Image(make_image(), format="qcow2")
    read = image.bench(count=500, buffer_size="8k", step_size="16k")
    assert (read.count, read.buffer_size) == (500, 8192)
    assert read.seconds >= 0
    image.write_bench(pattern=7, count=16, buffer_size="64k", depth=4, flush_interval=4)
    assert sum(entry.length for entry in image.map() if entry.data) == MIB


# -- strangers' images ------------------------------------------------------------------


def test_an_untrusted_image_opens_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    run(
        *("qemu-img", "create", "-q", "-f", "qcow2", "-o"),
        *(f"data_file={tmp_path / 'data'}", tmp_path / "disk", "1M"),
    )
    (tmp_path / "data").unlink()
    run(
        *("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "nbd://nowhere.invalid/x"),
        *("-F", "raw", tmp_path / "top", "1M"),
    )
    disk, top = Image(tmp_path / "disk", format="qcow2"), Image(tmp_path / "top", format="qcow2")
    info = disk.info(untrusted=True)
    assert info.filename == str(tmp_path / "disk")
    assert info.virtual_size == MIB
    assert top.info(untrusted=True).backing_filename == "nbd://nowhere.invalid/x"
    assert Image.probe(disk.path).dangers == ("an external data file",)
    assert Image.probe(top.path).dangers == ("a backing file",)


def test_an_untrusted_image_with_its_data_elsewhere_is_refused(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk", format="vmdk")
    image.create(MIB, CreateVmdk(subformat="monolithicFlat"))
    with pytest.raises(UsageError, match="data in other files: disk-flat"):
        image.info(untrusted=True)


def test_an_untrusted_image_is_looked_at_under_limits(tmp_path: Path) -> None:
    fake = tmp_path / "fake-img"
    fake.write_text("#!/bin/sh\nfor kind in d t f; do ulimit -$kind >&2; done; exit 1\n")
    fake.chmod(0o755)
    (tmp_path / "disk").write_bytes(bytes(512))
    image = Image(tmp_path / "disk", format="raw", programs=Programs(qemu_img=[str(fake)]))
    seen = {}
    for verb in (image.info, image.map):
        with pytest.raises(ToolError) as caught:
            verb(untrusted=True)
        seen[verb.__name__] = caught.value.output.split()
    # In KiB, in seconds, in blocks of 512 bytes.
    assert seen == {
        "info": [str(1 << 20), "10", str(64 << 11)],
        "map": [str(2 << 20), "120", str(64 << 11)],
    }


# -- what goes wrong --------------------------------------------------------------------


def test_what_is_no_image_is_told_in_the_tools_words(make_image: MakeImage, tmp_path: Path) -> None:
    truncated = make_image()
    os.truncate(truncated, 100)
    (tmp_path / "empty").write_bytes(b"")
    wrong = {
        tmp_path / "missing": "No such file",
        tmp_path / "empty": "not in qcow2 format",
        truncated: "too short",
    }
    for path, words in wrong.items():
        with pytest.raises(ToolError, match=words) as caught:
            Image(path, format="qcow2").info()
        assert caught.value.exit_status == 1
        assert str(path) in caught.value.argv
        assert "\n" not in str(caught.value)


def test_an_unknown_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="Unknown driver 'nothing'"):
        Image(tmp_path / "disk", format="nothing").info()  # type: ignore[type-var] # pyright: ignore[reportArgumentType]


def test_a_backing_chain_that_loops_is_refused_at_once(tmp_path: Path) -> None:
    one, two = (Image(tmp_path / name, format="qcow2") for name in ("one", "two"))
    one.create(MIB, backing=two, unsafe=True)
    two.create(MIB, backing=one, unsafe=True)
    for verb in (one.map, one.check, lambda: one.resize("2M"), lambda: one.start_convert(two)):
        with pytest.raises(UsageError, match="loops"):
            verb()
    with pytest.raises(ToolError, match="infinite loop"):
        one.backing_chain()
    assert one.info().virtual_size == MIB


def test_a_hole_in_a_backing_chain_is_told(make_image: MakeImage) -> None:
    base = make_image("base")
    top = Image(make_image("top", backing=base), format="qcow2")
    base.unlink()
    assert top.info().backing_filename == str(base)
    with pytest.raises(ToolError, match="Could not open backing file"):
        top.map()


def test_a_backing_format_that_nobody_tells_is_not_guessed_by_what_writes(tmp_path: Path) -> None:
    # By hand: QEMU itself makes no such image any more.
    top, base = Image(tmp_path / "top", format="qcow2"), Image(tmp_path / "base", format="raw")
    base.create(MIB)
    top.create(MIB)
    name = str(base.path).encode()
    with top.path.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack(">QI", 4096, len(name)))
        file.seek(4096)
        file.write(name)
    assert {entry.depth for entry in top.map()} == {1}
    for verb in (top.start_commit, lambda: top.start_convert(base), lambda: top.resize("2M")):
        with pytest.raises(UsageError, match="does not tell the format of its backing file"):
            verb()
    top.rebase(base, unsafe=True)
    top.resize("2M")


def test_no_permission_is_told() -> None:
    # A file that may be written only, for root as well.
    with pytest.raises(ToolError, match="Permission denied"):
        Image("/proc/sys/vm/compact_memory", format="raw").info()


def fake_tool(folder: Path, script: str) -> Programs:
    """A tool that does what QEMU's can't be made to do."""
    path = folder / "fake-img"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Programs(qemu_img=[str(path)])


def test_a_tool_that_prints_rubbish_is_told(tmp_path: Path) -> None:
    for printed in ("{", "[]", "", "null"):
        programs = fake_tool(tmp_path, f"echo '{printed}'")
        with pytest.raises(ToolError, match="printed"):
            Image(tmp_path / "disk", format="raw", programs=programs).info()


def test_a_tool_that_is_killed_is_told_with_its_signal(tmp_path: Path) -> None:
    programs = fake_tool(tmp_path, "kill -SEGV $$")
    with pytest.raises(ToolError, match="killed by signal 11") as caught:
        Image(tmp_path / "disk", format="raw", programs=programs).info()
    assert caught.value.exit_status == -signal.SIGSEGV


def test_a_tool_that_hangs_is_ended(tmp_path: Path) -> None:
    programs = fake_tool(tmp_path, f"exec sleep 60 # {tmp_path}")
    with pytest.raises(DeadlineExceeded):
        Image(tmp_path / "disk", format="raw", programs=programs).info(timeout=0.2)


def test_a_tool_that_is_not_there_is_told(tmp_path: Path) -> None:
    programs = Programs.in_directory(tmp_path)
    with pytest.raises(LaunchError, match="no program"):
        Image(tmp_path / "disk", format="raw", programs=programs).info()


def test_much_output_arrives_whole(tmp_path: Path) -> None:
    text = json.dumps([{"start": n, "length": 1} for n in range(50_000)])
    (tmp_path / "answer").write_text(text)
    programs = fake_tool(tmp_path, f"cat {tmp_path / 'answer'}")
    entries = Image(tmp_path / "disk", format="raw", programs=programs).map()
    assert (len(entries), entries[-1].start) == (50_000, 49_999)


def is_on_the_leash(mark: str) -> bool:
    """Whether the tool runs and something it has open is told to signal it."""
    return any(
        int(flags, 8) & os.O_ASYNC
        for pid in with_mark(mark)
        for info in Path(f"/proc/{pid}/fdinfo").iterdir()
        for flags in re.findall(r"flags:\s*(\d+)", info.read_text())
    )


def test_a_tool_does_not_outlive_us(tmp_path: Path) -> None:
    mark = f"mark-{tmp_path}"
    script = f"""
from qemu_blocksdk import Image
from qemu_blocksdk.tools import Programs
print("ready", flush=True)
programs = Programs(qemu_img=["tail", "-f", "/dev/null", "--", {mark!r}])
Image("x", format="raw", programs=programs).info()
"""
    with Script(tmp_path, script) as running:
        running.line()
        wait_until(lambda: is_on_the_leash(mark), what="the tool")
        running.kill()
        wait_until(lambda: not with_mark(mark), what="the end of the tool")


def test_questions_run_no_more_at_once_than_there_are_processors(tmp_path: Path) -> None:
    log = tmp_path / "log"
    programs = fake_tool(tmp_path, f"echo + >> {log}; sleep 0.05; echo - >> {log}; echo '{{}}'")

    async def many() -> None:
        image = AsyncImage(tmp_path / "disk", format="raw", programs=programs)
        await asyncio.gather(*(image.info() for _ in range(12)))

    asyncio.run(many())
    running = most = 0
    for line in log.read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert running == 0
    assert 0 < most <= len(os.sched_getaffinity(0))


def test_an_untrusted_image_cannot_flood_us(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    image = Image(tmp_path / "disk", format="raw", programs=fake_tool(tmp_path, "exec yes"))
    with pytest.raises(ToolError, match=f"signal {signal.SIGXFSZ}|File too large"):
        image.info(untrusted=True)


def test_what_is_no_file_is_refused_before_qemu_looks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, format in itertools.product(("fifo", "zero", "", "missing"), ("raw", "qcow2")):
        path = tmp_path / name
        image = Image(path, format="raw" if format == "raw" else "qcow2")
        with pytest.raises(UsageError, match=rf"{path}'.*(neither a regular|No such file)"):
            image.info(untrusted=True)


def test_an_untrusted_image_is_called_by_its_name_in_errors(make_image: MakeImage) -> None:
    path = make_image()
    with path.open("r+b") as file:
        file.seek(36)
        file.write(b"\x7f\xff\xff\xff")  # entries of the first table
    with pytest.raises(ToolError, match=rf"Could not open '{path}': Active L1 table"):
        Image(path, format="qcow2").info(untrusted=True)


def test_processor_time_goes_by_what_the_file_takes_on_the_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 1 << 40)  # a hole
    image = Image(disk, format="raw", programs=fake_tool(tmp_path, "ulimit -t >&2; exit 1"))

    def seconds() -> int:
        with pytest.raises(ToolError) as caught:
            image.map(untrusted=True)
        return int(caught.value.output)

    assert seconds() == 120
    with disk.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 512 * MIB)
    assert seconds() == 120 + 300


def test_a_short_fuzz_of_results_finds_nothing(tmp_path: Path) -> None:
    assert fuzz_results(tmp_path, seconds=1.0, seed=1) > 0
