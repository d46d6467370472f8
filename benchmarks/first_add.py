"""The first typed `blockdev-add` of a process: classes to load, schema to hold it against."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .core import Bench, Contestant, Row


def _child(way: str, image: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.children.add", way, str(image)]


def _inside(way: str, image: Path) -> Contestant:
    """What the child says that the add took."""
    return lambda: float(subprocess.check_output(_child(way, image)))


def _outside(way: str, image: Path) -> Contestant:
    """What the child took from its start to its end."""

    def sample() -> float:
        start = time.perf_counter()
        subprocess.check_output(_child(way, image))
        return time.perf_counter() - start

    return sample


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    with tempfile.TemporaryDirectory(prefix="blocksdk-bench-") as folder:
        image = Path(folder, "disk.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "64M"], check=True)
        yield {
            "typed add": _inside("connection", image),
            "raw add": _inside("raw", image),
            "typed process": _outside("objects", image),
            "raw process": _outside("raw", image),
        }


BENCH = Bench(
    name="first-add",
    rows=[
        Row(
            "first-add",
            ours="typed add",
            peer="raw add",
            kind="added",
            target=0.06,
            note="in a fresh process with qemu_blocksdk.qmp connected and no wire type of the"
            " add loaded: import Qcow2, File, BlockdevAdd and do it, less the same by raw socket",
        ),
        Row(
            "first-process",
            ours="typed process",
            peer="raw process",
            kind="added",
            note="the whole process, interpreter, imports, daemon and its end included:"
            " StorageDaemon().add_node(...), less subprocess, socket and json",
        ),
    ],
    rounds=15,
    contestants=_contestants,
    programs=("qemu-storage-daemon", "setpriv", "qemu-img"),
)
