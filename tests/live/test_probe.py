"""Reading an image's header without QEMU: the same answers as qemu-img, and none that hurts."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.probe import probe, probe_open
from tests.fuzz import headers

SIZE = 64 << 20
SECRET = ["--object", "secret,id=s,data=abc"]
KINDS = {
    **{name: ["-f", name] for name in ("qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "raw")},
    "vpc": ["-f", "vpc", "-o", "force_size=on"],
    "qcow2 of version 2": ["-f", "qcow2", "-o", "compat=0.10"],
    "vmdk stream optimized": ["-f", "vmdk", "-o", "subformat=streamOptimized"],
    "vmdk flat": ["-f", "vmdk", "-o", "subformat=monolithicFlat"],
    "parallels": ["-f", "parallels"],
}


def create(path: Path, *arguments: str, size: int | None = SIZE) -> Path:
    words = ["qemu-img", "create", "-q", *arguments, str(path)]
    subprocess.run(
        [*words, *([str(size)] if size is not None else [])], check=True, cwd=path.parent
    )
    return path


def info(path: Path) -> bytes:
    return subprocess.check_output(["qemu-img", "info", "--output=json", str(path)])


def luks() -> bytes:
    """A LUKS container of 1 MiB without keys, by hand.

    QEMU 7.2: making one measures the CPU first, and fails at random where the clock of the
    thread is coarse ("Unable to get accurate CPU usage"), so no test depends on that.
    """
    header = b"LUKS\xba\xbe" + struct.pack(">H", 1)
    header += b"".join(name.ljust(32, b"\0") for name in (b"aes", b"xts-plain64", b"sha256"))
    header += struct.pack(">II", 4040, 64) + bytes(52) + struct.pack(">I", 1000)
    header += b"00000000-0000-0000-0000-000000000000".ljust(40, b"\0")
    for slot in range(8):
        header += struct.pack(">II", 0xDEAD, 0) + bytes(32)
        header += struct.pack(">II", 8 + slot * 504, 4000)
    return header.ljust(4040 * 512 + (1 << 20), b"\0")


@pytest.mark.parametrize("kind", KINDS)
def test_format_and_size_are_those_that_qemu_img_tells(kind: str, tmp_path: Path) -> None:
    path = create(tmp_path / "image", *KINDS[kind])
    told = json.loads(info(path))
    found = probe(path)
    assert found.format == told["format"]
    if found.virtual_size is not None:
        assert found.virtual_size == told["virtual-size"]
    else:
        assert kind == "parallels"


@pytest.mark.parametrize("format", ["qcow2", "qcow", "qed"])
def test_a_backing_file_is_told_as_it_is_written(format: str, tmp_path: Path) -> None:
    create(tmp_path / "base,with=odd name", "-f", "raw")
    overlay = create(
        tmp_path / "top", "-f", format, "-b", "base,with=odd name", "-F", "raw", size=None
    )
    found = probe(overlay)
    assert found.backing_file == "base,with=odd name"
    assert found.dangers == ("a backing file",)


def test_the_format_of_the_backing_file_is_told(tmp_path: Path) -> None:
    create(tmp_path / "base", "-f", "qcow2")
    overlay = create(tmp_path / "top", "-f", "qcow2", "-b", "base", "-F", "qcow2", size=None)
    assert probe(overlay).backing_format == "qcow2"


def test_a_vmdk_tells_its_parent_and_its_extents(tmp_path: Path) -> None:
    create(tmp_path / "base.vmdk", "-f", "vmdk")
    overlay = tmp_path / "top.vmdk"
    create(overlay, "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", size=None)
    assert probe(overlay).backing_file == "base.vmdk"
    flat = create(tmp_path / "flat.vmdk", "-f", "vmdk", "-o", "subformat=monolithicFlat")
    assert probe(flat).extents == ("flat-flat.vmdk",)
    assert probe(flat).dangers == ("extents in other files",)


def test_an_external_data_file_is_told(tmp_path: Path) -> None:
    image = create(tmp_path / "image", "-f", "qcow2", "-o", "data_file=data.raw")
    assert probe(image).data_file == "data.raw"
    assert probe(image).dangers == ("an external data file",)


def test_encryption_is_told(tmp_path: Path) -> None:
    options = "encrypt.format=aes,encrypt.key-secret=s"
    image = create(tmp_path / "image", *SECRET, "-f", "qcow2", "-o", options)
    assert probe(image).encryption == "aes"
    with image.open("r+b") as file:
        file.seek(32)
        file.write((2).to_bytes(4, "big"))
    assert probe(image).encryption == "luks"
    assert probe(image).dangers == ("encryption",)


def test_luks_is_told(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(luks())
    # Proof that this is LUKS: QEMU reads it.
    assert json.loads(info(image))["format"] == "luks"
    found = probe(image)
    assert (found.format, found.encryption) == ("luks", "luks version 1")


def test_internal_snapshots_are_counted(tmp_path: Path) -> None:
    image = create(tmp_path / "image", "-f", "qcow2")
    subprocess.run(["qemu-img", "snapshot", "-c", "one", str(image)], check=True)
    assert probe(image).snapshots == 1


def test_unknown_incompatible_features_are_told_by_number(tmp_path: Path) -> None:
    image = create(tmp_path / "image", "-f", "qcow2")
    with image.open("r+b") as file:
        file.seek(72)
        file.write((1 << 63 | 1 << 7 | 1 << 1).to_bytes(8, "big"))
    assert probe(image).features == (7, 63)
    assert probe(image).is_corrupt


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_what_is_no_file_is_refused(make: object, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    assert callable(make)
    make(path)
    with pytest.raises(UsageError):
        probe(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError):
        probe(tmp_path / "empty")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        probe(tmp_path / "nowhere")


def test_a_name_that_lies_outside_the_file_is_refused(tmp_path: Path) -> None:
    image = create(tmp_path / "image", "-f", "qcow2")
    with image.open("r+b") as file:
        file.seek(8)
        file.write((1 << 40).to_bytes(8, "big") + (100).to_bytes(4, "big"))
    with pytest.raises(UsageError, match="outside itself"):
        probe(image)


# -- what shows only at a second look ----------------------------------------------------


def footer(creator: bytes, size: int, geometry: tuple[int, int, int], kind: int = 2) -> bytes:
    """The last sector of a fixed VHD."""
    head = b"conectix" + struct.pack(">IIQI4sI4s", 2, 0x10000, 2**64 - 1, 0, creator, 5, b"Wi2k")
    head += struct.pack(">QQHBBI", size, size, *geometry, kind)
    return with_checksum(head.ljust(512, b"\0"))


def with_checksum(sector: bytes) -> bytes:
    """A footer of a VHD with the checksum that it has to have."""
    rest = sector[:64] + bytes(4) + sector[68:]
    return sector[:64] + struct.pack(">I", ~sum(rest) & 0xFFFFFFFF) + sector[68:]


CREATORS = (
    *(b"vpc ", b"qemu", b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS", b"vbox", b"vs  "),
    *(b"tap ", b"WIN ", bytes(4)),
)


@pytest.mark.parametrize("geometry", [(60, 2, 17), (65535, 16, 255), (0, 0, 0)])
def test_a_fixed_vhd_has_the_size_that_qemu_takes(
    geometry: tuple[int, int, int], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    for creator in CREATORS:
        path.write_bytes(bytes(1 << 20) + footer(creator, 1 << 20, geometry))
        image = f"driver=vpc,file.filename={path}"
        told = subprocess.check_output(["qemu-img", "info", "--output=json", "--image-opts", image])
        found = probe(path)
        assert (found.format, found.marked_at_end) == ("vpc", True)
        assert found.dangers == ("a format that only its end tells",)
        if found.virtual_size is not None:
            assert found.virtual_size == json.loads(told)["virtual-size"], creator
        else:
            # The two QEMUs differ.
            assert creator in (b"vbox", b"vs  ", b"tap ", b"WIN ", bytes(4))


def test_a_vhd_of_virtual_pc_has_the_size_of_its_geometry(tmp_path: Path) -> None:
    path = create(tmp_path / "image", "-f", "vpc")
    content = bytearray(path.read_bytes())
    content[28:32] = b"vpc "
    content[56:60] = struct.pack(">HBB", 100, 4, 17)
    path.write_bytes(with_checksum(bytes(content[:512])) + content[512:])
    assert probe(path).virtual_size == 100 * 4 * 17 * 512 == json.loads(info(path))["virtual-size"]


UNEVEN: dict[str, tuple[int, str]] = {
    "qcow2": (24, ">Q"),
    "qcow": (24, ">Q"),
    "vdi": (368, "<Q"),
}
"""Where a header has the size."""


@pytest.mark.parametrize("format", [*UNEVEN, "raw"])
def test_an_image_has_whole_sectors_as_in_qemu(format: str, tmp_path: Path) -> None:
    path = create(tmp_path / "image", "-f", format, size=1 << 20)
    for size in (21, (1 << 20) - 511, (1 << 20) - 1):
        with path.open("r+b") as file:
            if format == "raw":
                file.truncate(size)
            else:
                offset, layout = UNEVEN[format]
                file.seek(offset)
                file.write(struct.pack(layout, size))
        name = f"driver={format},file.filename={path}"
        argv = ["qemu-img", "info", "--output=json", "--image-opts", name]
        told = json.loads(subprocess.check_output(argv))
        assert probe(path).virtual_size == told["virtual-size"], size


def test_a_name_ends_at_a_nul_and_none_has_no_length(tmp_path: Path) -> None:
    create(tmp_path / "base", "-f", "raw")
    path = create(tmp_path / "top", "-f", "qcow2", "-b", "base", "-F", "raw", size=None)
    with path.open("r+b") as file:
        offset = struct.unpack(">Q", path.read_bytes()[8:16])[0]
        for length, name, start in ((5, "base", b"b"), (0, None, b"b"), (4, None, b"\0")):
            file.seek(16)
            file.write(struct.pack(">I", length))
            file.seek(offset)
            file.write(start)
            file.flush()
            assert probe(path).backing_file == name
            assert json.loads(info(path)).get("backing-filename") == name


def test_parallels_of_another_version_is_raw(tmp_path: Path) -> None:
    path = create(tmp_path / "image", "-f", "parallels")
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\3")
    assert probe(path).format == json.loads(info(path))["format"] == "raw"


@pytest.mark.parametrize("length", [512, 511, 100])
def test_a_fixed_vhd_may_end_within_its_last_sector(length: int, tmp_path: Path) -> None:
    path = tmp_path / "image"
    whole = footer(b"qem2", 1 << 20, (60, 2, 17))
    path.write_bytes(bytes(1 << 20) + whole[:length])
    image = f"driver=vpc,file.filename={path}"
    told = subprocess.check_output(["qemu-img", "info", "--output=json", "--image-opts", image])
    assert json.loads(told)["virtual-size"] == probe(path).virtual_size == 1 << 20
    assert probe(path).format == "vpc"


@pytest.mark.parametrize("size", [8192, 8292, 8703])
@pytest.mark.parametrize("before", [512, 600, 1023])
def test_a_dmg_is_told_by_its_end(before: int, size: int, tmp_path: Path) -> None:
    path = tmp_path / "image"
    content = bytearray(size)
    at = -(-size // 512) * 512 - before  # from the end of the last sector, whole or not
    content[at : at + 4] = b"koly"
    path.write_bytes(content)
    assert (probe(path).format, probe(path).marked_at_end) == ("dmg", True)


@pytest.mark.parametrize(
    ("content", "data"),
    {
        "gzip": b"\x1f\x8b\x08",
        "bzip2": b"BZh9",
        "xz": b"\xfd7zXZ\0",
        "zstd": b"\x28\xb5\x2f\xfd",
        "zip": b"PK\x03\x04",
        "iso9660": bytes(32769) + b"CD001",
        "tar": b"disk.vmdk".ljust(257, b"\0") + b"ustar",
        "ova": b"machine.ovf".ljust(257, b"\0") + b"ustar",
        "gpt": bytes(512) + b"EFI PART",
        None: b"nothing",
    }.items(),
)
def test_what_a_raw_file_holds_is_named(content: str | None, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(data.ljust(1 << 16, b"\0"))
    found = probe(path)
    assert (found.format, found.content, found.virtual_size) == ("raw", content, 1 << 16)
    assert found.dangers == ()
    path.write_bytes(data)
    assert probe(path).content == content


def test_a_stream_has_the_size_that_its_end_tells(tmp_path: Path) -> None:
    path = create(tmp_path / "image", "-f", "vmdk", "-o", "subformat=streamOptimized")
    content = bytearray(path.read_bytes())
    header = bytes(content[:512])
    content[56:64] = b"\xff" * 8
    content[12:20] = (7).to_bytes(8, "little")
    marker = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
    path.write_bytes(bytes(content) + marker + header + bytes(512))
    assert probe(path).virtual_size == SIZE == json.loads(info(path))["virtual-size"]


def test_a_sparse_vmdk_keeps_its_data_under_another_name(tmp_path: Path) -> None:
    # QEMU does not read the names in a sparse file's descriptor, its own one either.
    path = create(tmp_path / "first", "-f", "vmdk").rename(tmp_path / "second")
    assert probe(path).extents == ()
    assert probe(path).dangers == ()


HOSTILE_TEXTS = {
    "white space": (b"", b" \n\t"),
    "blank lines": (b"", b"\n"),
    "comments": (b"", b"#\n"),
    "access alone": (b"version=1\n", b"RW\n"),
    "access and spaces": (b"version=1\n", b"RW "),
    "digits": (b"version=1\nRW ", b"1"),
    "digits in lines": (b"version=1\n", b"RW 1\n"),
    "types": (b"version=1\nRW 1 ", b"A"),
    "quotes": (b"version=1\n", b'RW 1 FLAT "'),
    "extents": (b"version=1\n", b'RW 1 FLAT "a"\n'),
    "parents": (b"version=1\n", b"parentFileNameHint"),
}


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_the_time_is_linear_in_the_text(name: str, tmp_path: Path) -> None:
    start, piece = HOSTILE_TEXTS[name]
    path = tmp_path / "image"

    def best(length: int) -> float:
        path.write_bytes((start + piece * length)[:length])
        times: list[float] = []
        for _ in range(3):
            begin = time.process_time()
            with contextlib.suppress(UsageError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    probe_open(descriptor, "x", format="vmdk")
                finally:
                    os.close(descriptor)
            times.append(time.process_time() - begin)
        return min(times)

    whole, part = best(1 << 20), best(1 << 17)
    assert whole < 8 * 4 * part + 0.05, (part, whole)


def test_a_short_fuzz_finds_nothing(tmp_path: Path) -> None:
    assert headers.fuzz_probe(tmp_path, seconds=1.0, seed=1) > 0
    assert headers.fuzz_descriptors(tmp_path, seconds=1.0, seed=1) > 0


@pytest.mark.timeout(120)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("kind", [*KINDS, "luks"])
def test_no_damage_to_a_header_gets_more_than_a_refusal(
    kind: str, tmp_path: Path, data: st.DataObject
) -> None:
    source = tmp_path / "source"
    if kind == "luks":
        source.write_bytes(luks())
    elif not source.exists():
        create(source, *KINDS[kind])
    with source.open("rb") as file:
        content = bytearray(file.read(1 << 17))
    length = data.draw(st.integers(1, len(content)))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, min(511, len(content) - 1)))] = data.draw(
            st.integers(0, 255)
        )
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content[:length])
    with contextlib.suppress(UsageError):
        probe(damaged)
