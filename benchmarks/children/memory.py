"""Run many commands, or many events, and print by how many KiB the process has grown.

`python -m benchmarks.children.memory {commands,events,options} COUNT`. What the first tenth of
them adds is not counted: caches fill, and the allocator takes what it needs at a time.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.options import typed
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.wire import Cont, QueryJobs, Resume, Stop, StopEvent

_IN_FLIGHT = 5


def resident() -> float:
    """KiB of memory that the process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


def commands(count: int) -> float:
    """Send `query-jobs`, blocking, one after the other."""
    with StorageDaemon() as daemon:
        for _ in range(count // 10):
            daemon.qmp.execute(QueryJobs())
        before = resident()
        for _ in range(count):
            daemon.qmp.execute(QueryJobs())
        return resident() - before


async def _receive(vm: AsyncVM, count: int) -> None:
    """Stop the VM and let it go on: two commands, two events. Ten commands are in flight."""
    async with vm.qmp.events(StopEvent, Resume) as events:
        for _ in range(count // (2 * _IN_FLIGHT)):
            async with asyncio.TaskGroup() as group:
                for _ in range(_IN_FLIGHT):
                    group.create_task(vm.qmp.execute(Stop()))
                    group.create_task(vm.qmp.execute(Cont()))
            for _ in range(2 * _IN_FLIGHT):
                await events.get(timeout=10)


async def _events(count: int) -> float:
    async with AsyncVM(machine="none") as vm:
        await _receive(vm, count // 10)
        before = resident()
        await _receive(vm, count)
        return resident() - before


def events(count: int) -> float:
    """Receive STOP and RESUME, awaitable, in one subscription."""
    return asyncio.run(_events(count))


def options(count: int) -> float:
    """Build, check and encode a chain's options."""
    for _ in range(count // 10):
        typed()
    before = resident()
    for _ in range(count):
        typed()
    return resident() - before


SOURCES: dict[str, Callable[[int], float]] = {
    "commands": commands,
    "events": events,
    "options": options,
}

if __name__ == "__main__":
    print(SOURCES[sys.argv[1]](int(sys.argv[2])))
