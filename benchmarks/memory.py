"""Memory over a long life: a process that runs for months keeps nothing of what it did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from .core import Bench, Contestant, Row

_COUNT = 100_000
# One pointer kept for every command would be 8 KiB a thousand. Below half of that there is
# only what the allocator took in one piece.
_FLAT = 4.0


def _growth(source: str, count: int) -> Contestant:
    argv = [sys.executable, "-m", "benchmarks.children.memory", source, str(count)]
    return lambda: float(subprocess.check_output(argv)) / count * 1000


@contextmanager
def _contestants(quick: bool) -> Generator[Mapping[str, Contestant]]:
    count = _COUNT // 5 if quick else _COUNT
    yield {row.ours: _growth(row.ours, count) for row in BENCH.rows}


BENCH = Bench(
    name="memory",
    rows=[
        Row(
            "memory-commands",
            ours="commands",
            peer=None,
            kind="growth",
            target=_FLAT,
            note="growth a thousand commands: 100,000 (--quick: 20,000) blocking QueryJobs()",
        ),
        Row(
            "memory-events",
            ours="events",
            peer=None,
            kind="growth",
            target=_FLAT,
            note="growth a thousand events: 100,000 (--quick: 20,000) STOP and RESUME, with as"
            " many commands, awaitable",
        ),
        Row(
            "memory-options",
            ours="options",
            peer=None,
            kind="growth",
            target=_FLAT,
            note="growth a thousand chains: options of 100,000 (--quick: 20,000) built and checked",
        ),
    ],
    rounds=1,
    contestants=_contestants,
    programs=("qemu-storage-daemon", "setpriv", "qemu-system-x86_64"),
    warm_up=False,
)
