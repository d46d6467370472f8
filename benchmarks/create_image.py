"""Writing 256 MiB of sector markers.

What is measured is the way to the page cache: nobody waits for the disk behind it, neither
ours nor a peer, and a file is deleted before the disk has seen much of it.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from qemu_blocksdk.tools.testdata import write_sector_markers

from .core import Bench, Contestant, Row

_SIZE = 256 << 20


def _by_sector(path: Path) -> None:
    with path.open("wb") as file:
        for number in range(_SIZE // 512):
            file.write(struct.pack(">l504xl", number, number))


def _dd(path: Path) -> None:
    argv = ["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={_SIZE >> 20}", "status=none"]
    subprocess.run(argv, check=True)


def _into_a_new_file(path: Path, write: Callable[[Path], None]) -> Contestant:
    def sample() -> float:
        start = time.perf_counter()
        write(path)
        took = time.perf_counter() - start
        path.unlink()
        return took

    return sample


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "disk")
        yield {
            "write_sector_markers": _into_a_new_file(
                path, lambda p: write_sector_markers(p, _SIZE)
            ),
            "sector by sector": _into_a_new_file(path, _by_sector),
            "dd": _into_a_new_file(path, _dd),
        }


_NOTE = "256 MiB into the page cache, no sync on either side, against"

BENCH = Bench(
    name="create-image",
    rows=[
        Row(
            "create-image",
            ours="write_sector_markers",
            peer="sector by sector",
            target=1 / 3,
            note=f"{_NOTE} a write() for every sector",
        ),
        Row(
            "create-image-dd",
            ours="write_sector_markers",
            peer="dd",
            target=1.25,
            note=f"{_NOTE} dd if=/dev/zero bs=1M, its start included",
        ),
    ],
    rounds=20,
    contestants=_contestants,
    programs=("dd",),
)
