"""What an image says of itself in its header, read here: no QEMU looks at the file.

For images from strangers. Nothing but a bounded number of bytes of the file itself is
read, nothing is followed, and what cannot be right is an error, not a guess. The formats
are those that QEMU reads. It recognises most by what a file begins with; DMG and fixed VHD have
their marks at the end. All else is ``raw``, and ``content`` names what that is where it shows.

Every expression here is possessive or bounded: the time is linear in what is read.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable
from typing import Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import UsageError

ProbedFormat = Literal[
    "bochs",
    "cloop",
    "dmg",
    "luks",
    "parallels",
    "qcow",
    "qcow2",
    "qed",
    "raw",
    "vdi",
    "vhdx",
    "vmdk",
    "vpc",
]
Content = Literal["bzip2", "gpt", "gzip", "iso9660", "ova", "tar", "xz", "zip", "zstd"]
_MAX_NAME = 1023  # qcow2's limit, the widest of all
_MAX_DESCRIPTOR = 1 << 20


class ImageProbe(Value):
    """What the header of an image tells.

    ``format`` is the driver by which QEMU reads it, ``content`` what a raw file holds: an archive,
    a CD, a partition table; None where that does not show. ``virtual_size`` is in bytes, None where
    the header does not hold it or the versions of QEMU differ. A name is text as the file system
    decodes it (``os.fsdecode``), empty where it is not in the header. ``features`` are the numbers
    of the incompatible feature bits that no QEMU known here understands. What is ``marked_at_end``
    alone is raw to a QEMU that probes, and a guest can write such a mark on a raw disk.
    """

    format: ProbedFormat
    content: Content | None = None
    virtual_size: int | None = None
    backing_file: str | None = None
    backing_format: str | None = None
    data_file: str | None = None
    extents: tuple[str, ...] = ()
    encryption: str | None = None
    snapshots: int = 0
    features: tuple[int, ...] = ()
    is_corrupt: bool = False
    marked_at_end: bool = False

    @property
    def dangers(self) -> tuple[str, ...]:
        """Why opening the image needs thought: what lies outside it, or cannot be judged."""
        found = {
            "a backing file": self.backing_file is not None,
            "an external data file": self.data_file is not None,
            "extents in other files": bool(self.extents),
            "encryption": self.encryption is not None,
            "internal snapshots": self.snapshots > 0,
            "unknown incompatible features": bool(self.features),
            "a format that only its end tells": self.marked_at_end,
        }
        return tuple(what for what, is_there in found.items() if is_there)


def probe(path: str | os.PathLike[str]) -> ImageProbe:
    """Tell the format of an image file by its content, and what makes it dangerous.

    Raises UsageError for what cannot be read or is no regular file or block device, for an
    empty file and for a header that contradicts itself.
    """
    descriptor = opened(path)
    try:
        return probe_open(descriptor, os.fspath(path))
    finally:
        os.close(descriptor)


def probe_open(descriptor: int, name: str, *, format: str | None = None) -> ImageProbe:
    """Do as :func:`probe` with a file that is open already; ``name`` is for errors.

    With a ``format``, look at it as QEMU does that is given this format.
    """
    image = _Bytes(descriptor, name)
    if image.size == 0:
        raise UsageError(f"{image.name!r} is empty")
    if format == "vmdk":
        # QEMU takes anything for a descriptor here that has no other mark.
        return _vmdk(image) or _vmdk_descriptor(image, 0)
    for look in _LOOKS:
        found = look(image)
        if found is not None:
            return found
    return ImageProbe(
        format="raw", content=_content(image), virtual_size=_sectors(image.size + 511)
    )


def opened(path: str | os.PathLike[str]) -> int:
    """Open a file for reading; return the descriptor.

    Raises UsageError for what cannot be read, or is neither a regular file nor a block device.
    """
    try:
        # Not blocking: a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # the latter for a NUL character
        raise UsageError(f"cannot read {os.fspath(path)!r}: {error}") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return descriptor
    os.close(descriptor)
    raise UsageError(f"{os.fspath(path)!r} is neither a regular file nor a block device")


class _Bytes:
    """Bounded access to the bytes of an open file."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self.name = name
        self.size = os.lseek(descriptor, 0, os.SEEK_END)

    def at(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes. Raises UsageError where the file has fewer."""
        data = self.upto(offset, length)
        if len(data) != length:
            raise UsageError(f"{self.name!r} is cut off: it has no {length} bytes at {offset}")
        return data

    def upto(self, offset: int, length: int) -> bytes:
        if not 0 <= offset <= self.size or not 0 <= length <= _MAX_DESCRIPTOR:
            raise UsageError(f"{self.name!r} points to {length} bytes at {offset}, outside itself")
        return os.pread(self._descriptor, length, offset)

    def fields(self, layout: str, offset: int) -> tuple[int, ...]:
        values: tuple[int, ...] = struct.unpack(layout, self.at(offset, struct.calcsize(layout)))
        return values

    def text(self, offset: int, length: int) -> str | None:
        """Return a name, which ends at a NUL; None for an empty one, which QEMU ignores."""
        if length > _MAX_NAME:
            raise UsageError(f"{self.name!r} has a file name of {length} bytes in its header")
        name = self.at(offset, length) if length else b""
        return os.fsdecode(name.partition(b"\0")[0]) or None


def _sectors(size: int) -> int:
    """The bytes of the whole sectors, which are all that QEMU has of an image."""
    return size // 512 * 512


def _bits(number: int) -> tuple[int, ...]:
    return tuple(bit for bit in range(number.bit_length()) if number >> bit & 1)


def _qcow2(image: _Bytes) -> ImageProbe | None:
    if image.upto(0, 4) != b"QFI\xfb":
        return None
    (version,) = image.fields(">I", 4)
    if version == 1:
        return _qcow(image)
    if version not in (2, 3):
        raise UsageError(f"{image.name!r} is qcow2 of version {version}, which nobody here knows")
    name_offset, name_length, _, size, crypt = image.fields(">QIIQI", 8)
    (snapshots,) = image.fields(">I", 60)
    incompatible, header_length = (0, 72)
    if version == 3:
        (incompatible,) = image.fields(">Q", 72)
        (header_length,) = image.fields(">I", 100)
    extensions = _qcow2_extensions(image, header_length)
    has_data_file = bool(incompatible & 1 << 2)
    return ImageProbe(
        format="qcow2",
        virtual_size=_sectors(size),
        backing_file=image.text(name_offset, name_length) if name_offset else None,
        backing_format=_name(extensions.get(0xE2792ACA)),
        data_file=(_name(extensions.get(0x44415441)) or "") if has_data_file else None,
        encryption={0: None, 1: "aes", 2: "luks"}.get(crypt, f"method {crypt}"),
        snapshots=snapshots,
        features=_bits(incompatible & ~0b11111),
        is_corrupt=bool(incompatible & 1 << 1),
    )


def _qcow2_extensions(image: _Bytes, offset: int) -> dict[int, bytes]:
    """The header extensions by type; the list ends with type 0 or where the names may begin."""
    extensions: dict[int, bytes] = {}
    for _ in range(64):
        if offset + 8 > image.size:
            break
        kind, length = image.fields(">II", offset)
        if kind == 0:
            break
        extensions[kind] = image.at(offset + 8, length)
        offset += 8 + (length + 7) // 8 * 8
    return extensions


def _name(data: bytes | None) -> str | None:
    return None if data is None else os.fsdecode(data)


def _qcow(image: _Bytes) -> ImageProbe:
    name_offset, name_length, _, size = image.fields(">QIIQ", 8)
    (crypt,) = image.fields(">I", 36)
    return ImageProbe(
        format="qcow",
        virtual_size=_sectors(size),
        backing_file=image.text(name_offset, name_length) if name_offset else None,
        encryption="aes" if crypt else None,
    )


def _qed(image: _Bytes) -> ImageProbe | None:
    if image.upto(0, 4) != b"QED\0":
        return None
    features, _, _, _, size, name_offset, name_length = image.fields("<QQQQQII", 16)
    return ImageProbe(
        format="qed",
        virtual_size=size,
        backing_file=image.text(name_offset, name_length) if features & 1 else None,
        backing_format="raw" if features & 4 else None,
        features=_bits(features & ~0b111),
    )


def _luks(image: _Bytes) -> ImageProbe | None:
    if image.upto(0, 6) != b"LUKS\xba\xbe":
        return None
    (version,) = image.fields(">H", 6)
    return ImageProbe(format="luks", encryption=f"luks version {version}")


def _vdi(image: _Bytes) -> ImageProbe | None:
    if image.size < 68 or image.at(64, 4) != b"\x7f\x10\xda\xbe":
        return None
    (size,) = image.fields("<Q", 368)
    (kind,) = image.fields("<I", 76)
    # Other images than dynamic (1) and static (2) ones lean on a parent, which QEMU does not read.
    return ImageProbe(
        format="vdi", virtual_size=_sectors(size + 511), backing_file=None if kind < 3 else ""
    )


def _vhdx(image: _Bytes) -> ImageProbe | None:
    if image.upto(0, 8) != b"vhdxfile":
        return None
    region_count = image.fields("<I", 196608 + 8)[0]
    metadata = _entry(image, 196608 + 16, 32, region_count, _VHDX_METADATA)
    if metadata is None:
        raise UsageError(f"{image.name!r} is vhdx without metadata")
    (base,) = struct.unpack("<Q", metadata[16:24])
    (count,) = image.fields("<H", base + 10)
    values: dict[bytes, int] = {}
    for guid in (_VHDX_PARAMETERS, _VHDX_SIZE):
        entry = _entry(image, base + 32, 32, count, guid)
        if entry is not None:
            (offset,) = struct.unpack("<I", entry[16:20])
            (values[guid],) = image.fields("<Q", base + offset)
    has_parent = bool(values.get(_VHDX_PARAMETERS, 0) >> 33 & 1)
    return ImageProbe(
        format="vhdx",
        virtual_size=values.get(_VHDX_SIZE),
        backing_file="" if has_parent else None,
    )


_VHDX_METADATA = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
_VHDX_PARAMETERS = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")
_VHDX_SIZE = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")


def _entry(image: _Bytes, offset: int, length: int, count: int, guid: bytes) -> bytes | None:
    """The entry of a vhdx table that begins with a GUID."""
    for number in range(min(count, 2047)):
        entry = image.at(offset + number * length, length)
        if entry.startswith(guid):
            return entry
    return None


def _vpc(image: _Bytes) -> ImageProbe | None:
    is_fixed = image.upto(0, 8) != b"conectix"
    if is_fixed and image.size < 1024:
        return None
    # The last sector may be cut off: old Virtual PCs write 511 bytes.
    start = _sectors(image.size + 511) - 512 if is_fixed else 0
    footer = image.upto(start, 512).ljust(512, b"\0")
    (kind,) = struct.unpack_from(">I", footer, 60)
    if is_fixed and (not footer.startswith(b"conectix") or kind != 2):
        return None
    return ImageProbe(
        format="vpc",
        virtual_size=_vpc_size(footer),
        backing_file="" if kind == 4 else None,
        marked_at_end=is_fixed,
    )


_VPC_GEOMETRY = (b"vpc ", b"qemu")
_VPC_SIZE = (b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS")
_VPC_LARGEST = (65535, 16, 255)


def _vpc_size(footer: bytes) -> int | None:
    """The size that QEMU takes, which hangs on the program that made the image."""
    creator = footer[28:32]
    size: int = struct.unpack_from(">Q", footer, 48)[0]
    geometry: tuple[int, int, int] = struct.unpack_from(">HBB", footer, 56)
    cylinders, heads, sectors = geometry
    by_geometry = _sectors(size)
    if geometry != _VPC_LARGEST:  # which stands for all that is larger
        by_geometry = cylinders * heads * sectors * 512
    if creator in _VPC_SIZE or by_geometry == size:
        return _sectors(size)
    # QEMU 7.2 takes the geometry of all others, 10.0 the size.
    return by_geometry if creator in _VPC_GEOMETRY else None


def _dmg(image: _Bytes) -> ImageProbe | None:
    # QEMU looks for the trailer in the last two sectors, and a little further.
    start = max(0, _sectors(image.size + 511) - 1023)
    is_there = b"koly" in image.upto(start, 515)
    return ImageProbe(format="dmg", marked_at_end=True) if is_there else None


def _vmdk(image: _Bytes) -> ImageProbe | None:
    start = image.upto(0, 512)
    if start.startswith(b"COWD"):
        (sectors,) = image.fields("<I", 12)
        return _vmdk_sparse(image, sectors)
    if start.startswith(b"KDMV"):
        (sectors, _, first) = image.fields("<QQQ", 12)
        if not sectors and first:
            # A sparse file of no size is a descriptor in disguise.
            return _vmdk_descriptor(image, first * 512)
        (directory,) = image.fields("<Q", 56)
        if directory == (1 << 64) - 1:
            # A stream: the header that counts is a copy at the end.
            (sectors,) = image.fields("<Q", image.size // 512 * 512 - 1024 + 12)
        return _vmdk_sparse(image, sectors)
    text = _text(image, 0)
    is_text = b"createType" in text or _is_descriptor.match(text) is not None
    return _vmdk_descriptor(image, 0) if is_text else None


# QEMU probes for a version after comments and blank lines (the usual first line is a comment),
# but reads what has none as well when it is given the format.
_is_descriptor = re.compile(rb"(?:\s++|#[^\n]*+\n)*+version\s*+=", re.IGNORECASE)
# As C's scanf reads it: any white space, or none, between its parts, ends of lines included.
_extent = re.compile(
    rb'^[^\S\n]*+(?:RW|RDONLY|NOACCESS)\s++([+-]?[0-9]++)\s*+\S{1,10}+\s*+"([^\n\r"]++)',
    re.MULTILINE,
)


def _text(image: _Bytes, offset: int, length: int = _MAX_DESCRIPTOR) -> bytes:
    """The text at an offset, up to a NUL or the end of the file."""
    return image.upto(offset, length).split(b"\0", 1)[0]


def _vmdk_sparse(image: _Bytes, sectors: int) -> ImageProbe:
    """A file with data of its own; QEMU reads only the parent's name in its descriptor."""
    text = _text(image, 512, 10240) if image.size > 512 else b""
    return ImageProbe(
        format="vmdk", virtual_size=sectors * 512, backing_file=_vmdk_parent(image, text)
    )


def _vmdk_descriptor(image: _Bytes, offset: int) -> ImageProbe:
    """A text that says where the data is: never in this file."""
    text = _text(image, offset)
    extents = [(int(size[:20]), os.fsdecode(name)) for size, name in _extent.findall(text)]
    # For the parent QEMU looks at a place of its own.
    parent = text if offset == 0 else _text(image, 512, 10240)
    return ImageProbe(
        format="vmdk",
        virtual_size=sum(max(0, sectors) * 512 for sectors, _ in extents),
        backing_file=_vmdk_parent(image, parent[:10240]),
        extents=tuple(name for _, name in extents) or ("",),
    )


def _vmdk_parent(image: _Bytes, text: bytes) -> str | None:
    """The parent's name: from two characters behind the first such word, whatever they are."""
    hint = b"parentFileNameHint"
    _, found, rest = text.partition(hint)
    if not found:
        return None
    name, end, _ = rest[2:].partition(b'"')
    if not end or len(name) > _MAX_NAME:
        raise UsageError(f"{image.name!r} names a parent without an end")
    return os.fsdecode(name) or None


def _starts(format: ProbedFormat, *signatures: bytes) -> Callable[[_Bytes], ImageProbe | None]:
    """A look for a format of which no more than the signature matters here."""

    def look(image: _Bytes) -> ImageProbe | None:
        start = image.upto(0, max(map(len, signatures)))
        return ImageProbe(format=format) if start.startswith(signatures) else None

    return look


_LOOKS: tuple[Callable[[_Bytes], ImageProbe | None], ...] = (
    *(_qcow2, _qed, _luks, _vdi, _vhdx, _vmdk),
    _starts("parallels", b"WithoutFreeSpace\2\0\0\0", b"WithouFreSpacExt\2\0\0\0"),
    _starts("bochs", b"Bochs Virtual HD Image"),
    _starts("cloop", b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
    *(_vpc, _dmg),
)

_CONTENTS: tuple[tuple[Content, int, bytes], ...] = (
    ("gzip", 0, b"\x1f\x8b\x08"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("zip", 0, b"PK\x03\x04"),
    ("iso9660", 32769, b"CD001"),
    ("tar", 257, b"ustar"),
    ("gpt", 512, b"EFI PART"),
    ("gpt", 4096, b"EFI PART"),
)


def _content(image: _Bytes) -> Content | None:
    """What a raw file holds."""
    for content, offset, mark in _CONTENTS:
        if image.size > offset and image.upto(offset, len(mark)) == mark:
            is_ova = content == "tar" and image.upto(0, 100).rstrip(b"\0").endswith(b".ovf")
            return "ova" if is_ova else content
    return None
