"""Sector markers are where they belong, samples come out whole or not at all, holes are seen."""

from __future__ import annotations

import bz2
import os
import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools import testdata
from qemu_blocksdk.tools.testdata import (
    AllocatedRange,
    allocated_ranges,
    allocated_size,
    find_wrong_marker,
    read_sectors,
    unpack_sample,
    write_sector_markers,
)

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40


def marked(numbers: range) -> bytes:
    """What the definition says, sector by sector."""
    return b"".join(struct.pack(">l504xl", number, number) for number in numbers)


def same(one: bytes | bytearray, other: bytes) -> bool:
    """Whether they are: pytest would show the difference at length."""
    return one == other


@pytest.mark.parametrize(
    "size", [0, 1, 511, 512, 513, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 33 * MIB + 5 * 512]
)
def test_every_sector_holds_its_number_twice_and_the_last_one_is_whole(
    tmp_path: Path, size: int
) -> None:
    write_sector_markers(tmp_path / "disk", size)
    assert same((tmp_path / "disk").read_bytes(), marked(range((size + 511) // 512)))
    assert find_wrong_marker(tmp_path / "disk") is None


@pytest.mark.parametrize("first", [1 << 16, 1 << 24, (1 << 31) - 256])
def test_numbers_of_a_large_image_are_right(first: int) -> None:
    (block,) = testdata._blocks(range(first, first + 256))
    assert same(block, marked(range(first, first + 256)))


def test_marked_image_has_no_holes(tmp_path: Path) -> None:
    write_sector_markers(tmp_path / "disk", MIB)
    assert allocated_size(tmp_path / "disk") >= MIB
    assert allocated_ranges(tmp_path / "disk") == [AllocatedRange(start=0, length=MIB)]


@pytest.mark.parametrize("size", [-1, -512, TIB + 1, 1 << 70])
def test_size_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, size: int
) -> None:
    (tmp_path / "disk").write_text("old")
    with pytest.raises(UsageError, match=f"{size} bytes"):
        write_sector_markers(tmp_path / "disk", size)
    assert (tmp_path / "disk").read_text() == "old"


def test_largest_size_is_not_refused() -> None:
    assert same(next(testdata._marked(TIB)), marked(range(256)))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_half_written_image_is_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    whole = testdata._blocks

    def cut_short(sectors: range) -> Iterator[bytearray]:
        yield next(whole(sectors))
        raise error

    monkeypatch.setattr(testdata, "_blocks", cut_short)
    with pytest.raises(type(error)):
        write_sector_markers(tmp_path / "disk", MIB)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("offset", [0, 511 * 512 + 511, 512 * 512 + 100, 1000 * 512 - 1])
def test_first_wrong_sector_is_found(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "disk"
    write_sector_markers(path, 1000 * 512)
    with path.open("r+b") as file:
        for place in (offset, 1000 * 512 - 1):
            file.seek(place)
            file.write(b"\x55")
    assert find_wrong_marker(path) == offset // 512


def test_half_a_sector_is_a_wrong_one(tmp_path: Path) -> None:
    write_sector_markers(tmp_path / "disk", 300 * 512)
    os.truncate(tmp_path / "disk", 300 * 512 - 1)
    assert find_wrong_marker(tmp_path / "disk") == 299


def test_sectors_are_read_by_number(tmp_path: Path) -> None:
    write_sector_markers(tmp_path / "disk", 5 * 512)
    assert read_sectors(tmp_path / "disk", 3) == marked(range(3, 4))
    assert read_sectors(tmp_path / "disk", 1, count=4) == marked(range(1, 5))
    assert read_sectors(tmp_path / "disk", 5, count=0) == b""


@pytest.mark.parametrize(("first", "count"), [(5, 1), (0, 6), (-1, 1), (3, -1), (1 << 80, 1)])
def test_sectors_that_are_not_there_are_refused(tmp_path: Path, first: int, count: int) -> None:
    write_sector_markers(tmp_path / "disk", 5 * 512)
    os.truncate(tmp_path / "disk", 5 * 512 + 511)
    with pytest.raises(UsageError, match=rf"disk' has no {count} sectors from {first} on"):
        read_sectors(tmp_path / "disk", first, count=count)


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)


ZEROS = bytes(8 * MIB)


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"", 0),
        (b"x", 1),
        (ZEROS, 0),
        (noise(100_000) + ZEROS, 100_000),
        (ZEROS + b"x", 1),
        (ZEROS + noise(5000) + ZEROS + noise(3) + ZEROS, 5003),
    ],
    ids=["empty", "a byte", "zeros", "zeros after", "zeros before", "zeros around"],
)
def test_sample_comes_out_as_it_went_in_with_holes_for_zeros(
    tmp_path: Path, content: bytes, data: int
) -> None:
    (tmp_path / "sample.bz2").write_bytes(bz2.compress(content))
    unpack_sample(tmp_path / "sample.bz2", tmp_path / "disk")
    assert same((tmp_path / "disk").read_bytes(), content)
    assert allocated_size(tmp_path / "disk") <= data + 64 * KIB


@pytest.mark.parametrize("chunk", [1, 7, testdata._CHUNK])
def test_sample_of_several_streams_comes_out_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(testdata, "_CHUNK", chunk)
    parts = [noise(200_000), ZEROS, b"", noise(7)]
    (tmp_path / "sample.bz2").write_bytes(b"".join(map(bz2.compress, parts)))
    unpack_sample(tmp_path / "sample.bz2", tmp_path / "disk")
    assert same((tmp_path / "disk").read_bytes(), b"".join(parts))


def _flipped(archive: bytes, at: int) -> bytes:
    return archive[:at] + bytes([archive[at] ^ 0x40]) + archive[at + 1 :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "cut off or empty"),
    "cut in the signature": (lambda archive: archive[:2], "cut off"),
    "cut in the middle": (lambda archive: archive[: len(archive) // 2], "cut off"),
    "cut before the last byte": (lambda archive: archive[:-1], "cut off"),
    "not an archive": (lambda _: b"QFI\xfb" * 100, "no bz2 archive, or damaged"),
    "damaged in the middle": (lambda archive: _flipped(archive, 150_000), "damaged"),
    "damaged checksum": (lambda archive: _flipped(archive, len(archive) - 3), "damaged"),
    "damaged second stream": (lambda archive: archive + _flipped(archive, 1), "damaged"),
    "cut second stream": (lambda archive: archive + archive[:100], "cut off"),
    "rubbish at the end": (lambda archive: archive + b"rubbish", "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_sample_is_refused_and_nothing_is_left(tmp_path: Path, damage: str) -> None:
    make, complaint = DAMAGES[damage]
    archive = tmp_path / "sample.bz2"
    archive.write_bytes(make(bz2.compress(noise(300_000))))
    with pytest.raises(UsageError, match=rf"sample\.bz2' is .*{complaint}"):
        unpack_sample(archive, tmp_path / "disk")
    assert [*tmp_path.iterdir()] == [archive]


def test_sample_is_unpacked_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "sample.bz2").write_bytes(bz2.compress(bytes(64 * MIB)))
    tracemalloc.start()
    try:
        unpack_sample(tmp_path / "sample.bz2", tmp_path / "disk")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "disk").stat().st_size == 64 * MIB
    # bzip2's own tables, of some 4 MB, are part of it.
    assert peak < 8 * MIB


def test_ranges_are_what_lies_between_the_holes(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as file:
        for start, length in ((1, 1), (5, 2)):
            file.seek(start * MIB)
            file.write(noise(length * MIB))
        file.truncate(16 * MIB)
    assert allocated_ranges(tmp_path / "disk") == [
        AllocatedRange(start=1 * MIB, length=1 * MIB),
        AllocatedRange(start=5 * MIB, length=2 * MIB),
    ]
    assert 3 * MIB <= allocated_size(tmp_path / "disk") < 4 * MIB


@pytest.mark.parametrize("size", [0, MIB])
def test_hole_alone_is_no_range(tmp_path: Path, size: int) -> None:
    (tmp_path / "disk").touch()
    os.truncate(tmp_path / "disk", size)
    assert allocated_ranges(tmp_path / "disk") == []
    assert allocated_size(tmp_path / "disk") == 0


@pytest.mark.parametrize("ask", [allocated_size, allocated_ranges, find_wrong_marker])
def test_missing_file_is_the_systems_error(tmp_path: Path, ask: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "missing")
