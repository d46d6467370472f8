"""Files to test with, and what is on the disk of them: no QEMU takes part.

What is written appears under its name when it is complete (:mod:`.atomic_write`). The functions
block; those that take long call ``each_piece`` before each piece of some KiB, and end by what
that raises.
"""

from __future__ import annotations

import bz2
import errno
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError

from .atomic_write import atomic_write
from .run import Path, as_path

_SECTOR = 512
_MARKERS = (0, 508)
"""Where in a sector its number is."""
_BLOCK = 256
"""Sectors to write at once: the lowest byte of their numbers is the same in every block."""
_HOLE = 4096
"""As many zeros become a hole."""
_CHUNK = 1 << 16


class AllocatedRange(Value):
    """Bytes of a file that are stored and no hole: the offset of the first, and how many."""

    start: int
    length: int


def write_sector_markers(
    path: Path,
    size: int,
    *,
    replace: bool = False,
    each_piece: Callable[[], object] | None = None,
) -> None:
    """Write a raw image, without holes, in which every sector of 512 bytes holds its number.

    The number is at offset 0 and at offset 508, as a signed big-endian integer of 32 bits;
    the rest is zeros. A ``size`` that is no multiple of 512 is rounded up to one. ``replace``
    allows a file that is there to be replaced.

    Raises UsageError for a negative size, for more than 1 TiB (the numbers end there) and as
    :func:`.atomic_write`; OSError when the disk is full.
    """
    blocks = _marked(size)
    with atomic_write(path, replace=replace) as draft, draft.open("wb") as file:
        for block in blocks:
            if each_piece is not None:
                each_piece()
            file.write(block)


def find_wrong_marker(path: Path) -> int | None:
    """Return the number of the first sector that is not as :func:`write_sector_markers` has it.

    None means that all are. Raises UsageError for a file of more than 1 TiB, OSError when it
    cannot be read.
    """
    with as_path(path).open("rb") as file:
        blocks = _marked(os.fstat(file.fileno()).st_size)
        for number, right in enumerate(map(bytes, blocks)):
            found = file.read(len(right))
            if found != right:
                at = next(
                    at for at in range(len(right)) if found[at : at + 1] != right[at : at + 1]
                )
                return number * _BLOCK + at // _SECTOR
    return None


def _marked(size: int) -> Iterator[bytearray]:
    """The content of a marked image; each piece is good until the next one is asked for."""
    sectors = -(-size // _SECTOR)
    if size < 0 or sectors > 1 << 31:
        raise UsageError(f"sectors cannot be numbered in an image of {size} bytes")
    return _blocks(range(sectors))


def _blocks(sectors: range) -> Iterator[bytearray]:
    # At the speed of a disk: a slice for each byte of the numbers, not a loop over sectors.
    block = bytearray(_BLOCK * _SECTOR)
    for marker in _MARKERS:
        block[marker + 3 :: _SECTOR] = bytes(range(_BLOCK))
    for first in sectors[::_BLOCK]:
        for offset, value in enumerate(first.to_bytes(4, "big")[:3]):
            for marker in _MARKERS:
                block[marker + offset :: _SECTOR] = bytes([value]) * _BLOCK
        del block[(sectors.stop - first) * _SECTOR :]
        yield block


def read_sectors(path: Path, first: int, *, count: int = 1) -> bytes:
    """Read ``count`` sectors of 512 bytes of a raw image from number ``first`` on.

    Raises UsageError where the file does not have them all, OSError when it cannot be read.
    """
    with as_path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not 0 <= first <= first + count <= size // _SECTOR:
            raise UsageError(f"{os.fspath(path)!r} has no {count} sectors from {first} on")
        file.seek(first * _SECTOR)
        return file.read(count * _SECTOR)


def unpack_sample(
    archive: Path,
    path: Path,
    *,
    replace: bool = False,
    each_piece: Callable[[], object] | None = None,
) -> None:
    """Unpack a ``.bz2`` archive into a file, with holes where there are only zeros.

    ``replace`` allows a file that is there to be replaced. Raises UsageError for an archive that
    is damaged or cut off and as :func:`.atomic_write`; OSError when it cannot be read or the disk
    is full.
    """
    with atomic_write(path, replace=replace) as draft, draft.open("wb") as file:
        for piece in _unpacked(archive):
            if each_piece is not None:
                each_piece()
            if piece == bytes(len(piece)):
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        file.truncate()


def _unpacked(archive: Path) -> Iterator[bytes]:
    """The content of an archive in pieces of ``_HOLE`` bytes at most."""
    # Not bz2.open(): it takes damage at the start of a second stream for the archive's end.
    with as_path(archive).open("rb") as file:
        packed = file.read(_CHUNK)
        while True:
            stream = bz2.BZ2Decompressor()
            yield from _pieces(stream, packed, file)
            packed = stream.unused_data or file.read(_CHUNK)
            if not packed:
                return


def _pieces(stream: bz2.BZ2Decompressor, packed: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of one stream, which begins with ``packed`` and goes on in the file."""
    while not stream.eof:
        if stream.needs_input:
            packed = packed or file.read(_CHUNK)
            if not packed:
                raise UsageError(f"{os.fspath(file.name)!r} is cut off or empty")
        try:
            piece = stream.decompress(packed, _HOLE)
        except OSError as error:
            raise UsageError(f"{os.fspath(file.name)!r} is no bz2 archive, or damaged") from error
        packed = b""
        yield piece


def allocated_size(path: Path) -> int:
    """Return how many bytes a file takes on the disk. Raises OSError when there is none."""
    # st_blocks is in units of 512 bytes, whatever the file system's are.
    return as_path(path).stat().st_blocks * 512


def allocated_ranges(path: Path) -> list[AllocatedRange]:
    """Return where a file is stored, in order; between the ranges are holes.

    A file system that has no holes tells one range. Raises OSError when the file cannot be
    read.
    """
    ranges: list[AllocatedRange] = []
    end = 0
    with as_path(path).open("rb") as file:
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return ranges
                raise
            ranges.append(AllocatedRange(start=start, length=end - start))
