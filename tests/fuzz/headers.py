"""Fuzz of image headers: `python -m tests.fuzz` runs it.

Each function takes a folder to work in, a duration and a seed, returns how many inputs it tried,
and raises AssertionError with the input that showed a fault.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.probe import ImageProbe, probe

FORMATS = ("qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc", "parallels")
LONGEST = 2.0  # seconds of processor time for one header, on a busy machine


def fuzz_probe(folder: Path, *, seconds: float, seed: int) -> int:
    """Damage headers; a probe may only return or raise UsageError, and soon."""
    choose = random.Random(seed)
    seeds = [_made(folder / format, format) for format in FORMATS] + [_descriptor(choose)]
    path = folder / "damaged"
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = bytearray(choose.choice(seeds))
        for _ in range(choose.randrange(8)):
            at = choose.randrange(min(len(content), choose.choice((64, 512, 4096, 1 << 20))))
            width = choose.choice((1, 2, 4, 8))
            content[at : at + width] = choose.choice(
                (b"\xff" * width, bytes(width), choose.randbytes(width))
            )
        path.write_bytes(
            content[: choose.choice((len(content), choose.randrange(len(content)))) + 1]
        )
        _seen(path)
        count += 1
    return count


def fuzz_descriptors(folder: Path, *, seconds: float, seed: int) -> int:
    """Write vmdk descriptors; where QEMU opens another file, a probe has to have seen one."""
    choose = random.Random(seed)
    (folder / "other").write_bytes(bytes(1 << 20))
    path = folder / "descriptor"
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        path.write_bytes(_descriptor(choose))
        opened = _opened_by_qemu(path)
        found = _seen(path)
        if opened - {str(path)} and found is not None and found.format == "vmdk":
            assert found.extents or found.backing_file, f"not seen in {path.read_bytes()!r}"
        count += 1
    return count


def _seen(path: Path) -> ImageProbe | None:
    begin = time.process_time()
    try:
        return probe(path)
    except UsageError:
        return None
    except Exception as error:
        raise AssertionError(f"{error!r} for {path.read_bytes()[:4096]!r}") from error
    finally:
        took = time.process_time() - begin
        assert took < LONGEST, f"{took} s for {path.read_bytes()[:4096]!r}"


def _opened_by_qemu(path: Path) -> set[str]:
    """The files that QEMU opens for an image, as far as it tells."""
    image = f"driver=vmdk,file.filename={path}"
    argv = ["qemu-img", "info", "--output=json", "--image-opts", image]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    if done.returncode:
        return set()
    told = json.loads(done.stdout)
    parts = told.get("format-specific", {}).get("data", {}).get("extents", [])
    return {part["filename"] for part in parts}


def _made(path: Path, format: str) -> bytes:
    argv: Sequence[str] = ["qemu-img", "create", "-q", "-f", format, str(path), "1M"]
    subprocess.run(argv, check=True)
    with path.open("rb") as file:
        return file.read(1 << 18)


_SPACES = ("", " ", "  ", "\t", "\n", "\r\n", "\v", " \n ")
_LINES = (
    *("# Disk DescriptorFile", "version=1", "CID=1", "parentCID=ffffffff", "", " ", "#"),
    *('createType="monolithicFlat"', 'createType="vmfs"', 'parentFileNameHint="other"'),
)


def _descriptor(choose: random.Random) -> bytes:
    """A vmdk descriptor that may be a good one."""
    lines = [*_LINES[:4], 'createType="monolithicFlat"']
    for _ in range(choose.randrange(4)):
        lines.insert(choose.randrange(len(lines) + 1), choose.choice(_LINES))
    for _ in range(choose.randrange(3)):
        del lines[choose.randrange(len(lines))]
    parts = (
        choose.choice(("RW", "RW", "RW", "RDONLY", "rw")),
        choose.choice(("2048", "+2048", "02048", "-1", "0x10")),
        choose.choice(("FLAT", "FLAT", "FLAT", "VMFS", "SPARSE", "ZERO")),
        choose.choice(('"other"', '"./other"', '"other', '"descriptor"')),
        choose.choice(("0", "+0", "", "1")),
    )
    usual = choose.random() < 0.3
    line = "".join(part + (" " if usual else choose.choice(_SPACES)) for part in parts)
    lines.insert(choose.choice((len(lines), choose.randrange(len(lines) + 1))), line)
    return choose.choice(("\n", "\n", "\r\n")).join(lines).encode() + b"\n"
