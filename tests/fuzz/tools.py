"""Fuzz of what the tools print: `python -m tests.fuzz` runs it.

Real output of qemu-img, qemu-io and qemu-nbd is changed in a few places and read. That may raise
errors of the tree, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from qemu_blocksdk.codec import JsonValue, Struct, decode
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.tools import qemu_io_answers as answers
from qemu_blocksdk.tools.qemu_io import request
from qemu_blocksdk.tools.qemu_io_dialog import IoDialog
from qemu_blocksdk.tools.qemu_io_session import Answer
from qemu_blocksdk.tools.qemu_nbd import exports_in
from qemu_blocksdk.tools.results import (
    BenchResult,
    BlockGraphInfo,
    BlockMeasureInfo,
    Comparison,
    ImageCheck,
    MapEntry,
)
from qemu_blocksdk.tools.run import Completed
from tests.fuzz.replies import change, read

EXPORTS = """exports available: 2
 export: 'a'
  description: the first
  size:  1048576
  flags: 0x4ed ( flush fua trim zeroes df multi cache )
  min block: 1
  opt block: 4096
  max block: 33554432
  transaction size: 64-bit
  available meta contexts: 1
   base:allocation
 export: ''
  size:  512
  flags: 0x3 ( readonly )
"""
DONE = """blkdebug: Suspended request 'A'
wrote 65536/65536 bytes at offset 0
64 KiB, 1 ops; 00.00 sec (100 MiB/sec and 1638.4 ops/sec)
Pattern verification failed at offset 0, 512 bytes
read 512/512 bytes at offset 512
512 bytes, 1 ops; 00.00 sec (1 MiB/sec and 2000 ops/sec)
readv failed: Input/output error
512,1,00:00:01.5,512,1000.0
"""
DUMP = "".join(f"{at:08x}:  {'5a ' * 16} ZZZZZZZZZZZZZZZZ\n" for at in (0, 16)) + "32,1,0.1,1,9\n"
READ = request("read", 0, 32, v=True)
WRITE = request("aio_write", 0, 65536)


class Printed:
    """A qemu-io that prints one thing."""

    argv = ("qemu-io",)

    def __init__(self, text: str) -> None:
        self.text = text

    async def ask(self, line: str, *, timeout: float) -> Answer:
        return Answer(self.text, "")


def _told(parse: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: asyncio.run(IoDialog(Printed(text), timeout=9).told("x", parse))


def _done(text: str) -> Completed:
    return Completed(argv=("x",), exit_status=0, stdout=text, stderr="")


async def _with_asides(text: str) -> object:
    printed = Printed("")
    dialog = IoDialog(printed, timeout=9)
    await dialog.begin(WRITE)
    printed.text = text
    with contextlib.suppress(BlockSdkError):
        await dialog.request(READ)
    printed.text = ""
    return await dialog.finish_all()


TEXTS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "exports": (EXPORTS, lambda text: exports_in(_done(text))),
    "compare": ("Content mismatch at offset 5!\n", lambda text: Comparison.parse(1, text)),
    "bench": ("completed in 0.15 seconds.\n", lambda text: BenchResult.parse(_done(text), 1, 1)),
    "json": ('{"a": [1, {"filename": "f"}]}', lambda text: _done(text).json_object()),
    "asides": (DONE, lambda text: asyncio.run(_with_asides(text))),
    "dump": (DUMP, _told(lambda text: answers.dumped(text, READ))),
    "map": ("64 KiB (0x10000) bytes not allocated at offset 0 (0x0)\n", _told(answers.extents)),
    "alloc": ("512/1024 bytes allocated at offset 0 bytes\n", _told(answers.allocation)),
    "length": ("1.25 MiB\n", _told(answers.at_least)),
    "info": ("format name: qcow2\ncluster size: 64 KiB\n", _told(answers.image_info)),
}
"""What is printed, by a name, and how it is read."""


def fuzz_printed(folder: Path, *, seconds: float, seed: int) -> int:
    """Change the text that tools print; return how many were read.

    The ``folder`` is not used.
    """
    choose = random.Random(seed)
    pieces = ("9" * 5000, "", ".", "-", "0x", "\n", "'", "KiB", "(", "\udc80", "[" * 99999, ":")
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text, understand = TEXTS[choose.choice(list(TEXTS))]
        for _ in range(choose.randrange(1, 4)):
            start = choose.randrange(len(text) + 1)
            stop = min(len(text), start + choose.choice((0, 1, 1, 3, 20)))
            text = text[:start] + choose.choice([*pieces, text[start:stop] * 2]) + text[stop:]
        _fails_well(lambda: understand(text), text)  # noqa: B023
        count += 1
    return count


def fuzz_results(folder: Path, *, seconds: float, seed: int) -> int:
    """Change what qemu-img says in JSON of an image; return how many results were read."""
    choose = random.Random(seed)
    made = _results(folder)
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        cls, real = choose.choice(made)
        holder: dict[str, JsonValue] = json.loads(json.dumps({"result": real}))
        for _ in range(choose.randrange(1, 4)):
            change(choose, holder)
        result = holder.get("result")
        _fails_well(lambda: read(decode(cls, result)), json.dumps(result))  # noqa: B023
        count += 1
    return count


def _results(folder: Path) -> list[tuple[type[Struct], JsonValue]]:
    """Real results of all verbs, and what each is decoded to."""
    found: list[tuple[type[Struct], JsonValue]] = []
    for format in ("qcow2", "vmdk"):
        path = folder / format
        subprocess.run(["qemu-img", "create", "-q", "-f", format, path, "1M"], check=True)
        if format == "qcow2":
            subprocess.run(["qemu-img", "snapshot", "-c", "s", path], check=True)
            subprocess.run(["qemu-img", "bitmap", "--add", path, "b"], check=True)
        for verb, cls in (("info", BlockGraphInfo), ("check", ImageCheck)):
            argv = ["qemu-img", verb, "--output=json", "-f", format, str(path)]
            found.append((cls, json.loads(subprocess.check_output(argv))))
    argv = ["qemu-img", "map", "--output=json", str(folder / "qcow2")]
    found += [(MapEntry, entry) for entry in json.loads(subprocess.check_output(argv))]
    argv = ["qemu-img", "measure", "--output=json", "-O", "qcow2", str(folder / "qcow2")]
    found.append((BlockMeasureInfo, json.loads(subprocess.check_output(argv))))
    return found


def _fails_well(work: Callable[[], object], what: str) -> None:
    try:
        with contextlib.suppress(BlockSdkError):
            work()
    except Exception as error:
        raise AssertionError(f"{error!r} of {what[:4096]!r}") from error
