"""Months of automation in minutes: `python -m tests.soak [SECONDS]`.

The same work again and again in one process: jobs, bitmaps, exports, transactions, events, attached
clients, tools, launches. Memory, descriptors, threads and tasks must not grow once the caches are
warm. It prints what it counted, and exits with status 1 where something grew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import astuple, dataclass
from pathlib import Path

from qemu_blocksdk import Image, NbdServer, Node, QemuIo, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.wire import JobStatusChange

MIB = 1 << 20
WARM = 0.2
"""The part of the time after which nothing may grow."""
MOST_KIB = 1024
"""KiB of memory that are no growth."""


@dataclass(frozen=True)
class Held:
    """What the process holds; memory in KiB."""

    memory: int
    qemu_memory: int
    descriptors: int
    threads: int
    tasks: int


def held(daemon: StorageDaemon) -> Held:
    """Count what this process and its daemon hold, without what the allocator has in reserve."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return Held(
        _resident("self"),
        _resident(daemon.process.pid),
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
        background_loop.call(lambda: len(asyncio.all_tasks())),
    )


def _resident(pid: object) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@contextlib.contextmanager
def node_of(daemon: StorageDaemon, name: str) -> Generator[Node]:
    """Add a node for the block."""
    node = daemon.add_node(NullCo(node_name=name, size=MIB, read_zeroes=True))
    yield node
    node.delete()


def jobs(daemon: StorageDaemon, folder: Path) -> None:
    """A backup and a cancelled mirror, their events read by another subscriber."""
    with (
        node_of(daemon, "source") as source,
        node_of(daemon, "target") as target,
        daemon.qmp.events(JobStatusChange) as events,
    ):
        source.backup(target, timeout=30)
        source.start_mirror(target).cancel(timeout=30)
        assert events.get_nowait() is not None


def bitmaps(daemon: StorageDaemon, folder: Path) -> None:
    """Bitmaps in transactions, and the graph."""
    with node_of(daemon, "node") as node:
        transaction = daemon.transaction()
        for name in ("one", "two"):
            transaction.add_bitmap(node.bitmap(name))
        transaction.commit(timeout=30)
        daemon.graph()
        node.bitmap("one").merge([node.bitmap("two")])
        for name in ("one", "two"):
            node.bitmap(name).remove()


def exports(daemon: StorageDaemon, folder: Path) -> None:
    """A node over NBD, read by qemu-io."""
    with (
        node_of(daemon, "node") as node,
        daemon.start_nbd_server() as server,
        server.export(node) as export,
        QemuIo(Image.at_uri(export.uri), read_only=True) as session,
    ):
        assert session.read(0, 512, pattern=0).pattern_matches


def clients(daemon: StorageDaemon, folder: Path) -> None:
    """A second client of the daemon."""
    with StorageDaemon.attach(folder / "monitor") as other:
        other.query_jobs()


def launches(daemon: StorageDaemon, folder: Path) -> None:
    """A daemon's whole life, with an image."""
    disk = Image(folder / "disk.qcow2", format="qcow2")
    disk.create("1M", replace=True)
    with StorageDaemon() as other:
        other.add_node(Qcow2(node_name="disk", file=File(filename=str(disk.path))))


def tools(daemon: StorageDaemon, folder: Path) -> None:
    """Tools, one of them with progress, and a server."""
    source = Image(folder / "source.raw", format="raw")
    source.create("1M", replace=True)
    copy = Image(folder / "copy.qcow2", format="qcow2")
    source.convert(copy, replace=True, timeout=30, on_progress=lambda _: None)
    assert source.compare(copy, timeout=30).is_equal
    with NbdServer(copy) as server:
        Image.at_uri(server.uri).info()


WORK: tuple[Callable[[StorageDaemon, Path], None], ...] = (
    *(jobs, bitmaps, clients) * 4,
    exports,
    launches,
    tools,
)


def soak(seconds: float, say: Callable[[str], object] = print) -> list[str]:
    """Work for a while; return what grew."""
    end = time.monotonic() + seconds
    warm_at = time.monotonic() + WARM * seconds
    counts = dict.fromkeys((work.__name__ for work in WORK), 0)
    before: Held | None = None
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with StorageDaemon(monitors=[folder / "monitor"]) as daemon:
            while time.monotonic() < end:
                for work in WORK:
                    work(daemon, folder)
                    counts[work.__name__] += 1
                if before is None and time.monotonic() >= warm_at:
                    before = held(daemon)
                    say(f"warm after {counts}: {before}")
            after = held(daemon)
    say(f"done after {counts}: {after}")
    assert before is not None, "too short"
    kinds = ("memory", "memory of QEMU", "descriptors", "threads", "tasks")
    slack = (MOST_KIB, MOST_KIB, 0, 0, 0)
    return [
        f"{kind}: from {was} to {now}"
        for kind, was, now, more in zip(kinds, astuple(before), astuple(after), slack, strict=True)
        if now > was + more
    ]


if __name__ == "__main__":
    grown = soak(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)
    print("\n".join(grown) or "nothing grew")
    sys.exit(bool(grown))
