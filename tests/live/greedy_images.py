"""Images that cost much more to read than to send: processor time, memory, output."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from qemu_blocksdk import Image, Secret

CLUSTER = 65536
ENTRIES = CLUSTER // 8


def one_table(path: Path, entry: Callable[[int], int], *, tables: int = 4096) -> Image:
    """A qcow2 of half a GiB for each of its ``tables``, which are all the same one."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", 3, 0, 0, 16, tables * ENTRIES * CLUSTER, 0),
        *(tables, 5 * CLUSTER, CLUSTER, 1, 0, 0),
    )
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    parts = (
        header,
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">H", 1) * 8,
        struct.pack(f">{ENTRIES}Q", *map(entry, range(ENTRIES))),
        deflate.compress(b"Z" * CLUSTER) + deflate.flush(),
        struct.pack(">Q", 3 * CLUSTER) * tables,
    )
    path.write_bytes(b"".join(part.ljust(CLUSTER, b"\0") for part in parts))
    return Image(path, format="qcow2")


def compressed(path: Path) -> Image:
    """The same compressed cluster everywhere."""
    return one_table(path, lambda _: 1 << 62 | 4 * CLUSTER)


def alternating(path: Path) -> Image:
    """Data, nothing, data, nothing, ..."""
    return one_table(path, lambda number: 4 * CLUSTER if number % 2 else 0)


def zeros(path: Path) -> Image:
    """Zeros, nothing, zeros, nothing, ..."""
    return one_table(path, lambda number: number % 2)


def slow_key(path: Path) -> Image:
    """LUKS whose key takes four thousand million rounds of a hash."""
    header = struct.pack(
        ">6sH32s32s32sII",
        *(b"LUKS\xba\xbe", 1, b"aes", b"xts-plain64", b"sha256", 4040, 64),
    )
    header += bytes(52) + struct.pack(">I", 1000) + b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12
    header = header.ljust(208, b"\0")
    for slot in range(8):
        state = 0x00AC71F3 if slot == 0 else 0xDEAD
        header += struct.pack(">II32sII", state, 0xFFFFFFFF, bytes(32), 8 + slot * 504, 4000)
    path.write_bytes(header.ljust(4040 * 512 + (1 << 20), b"\0"))
    return Image(path, format="luks", secret=Secret("x"))


def large_map(path: Path) -> Image:
    """The largest vdi: its map of blocks takes 2 GiB, in a file of holes."""
    blocks = 0x1FFFFF80
    header = b"<<< QEMU VM Virtual Disk Image >>>\n".ljust(64, b"\0")
    header += struct.pack("<IIIII", 0xBEDA107F, 0x00010001, 400, 1, 0) + bytes(256)
    header += struct.pack(
        "<IIIIIIIQIIII", 512, 512 + blocks * 4, 0, 0, 0, 512, 0, blocks << 20, 1 << 20, 0, blocks, 0
    )
    path.write_bytes(header.ljust(512, b"\0"))
    os.truncate(path, 512 + blocks * 4 + 512)
    return Image(path, format="vdi")
