"""What it costs to import the package, in interpreters that are started for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from .core import Bench, Contestant, Row

_PEER = "import qemu.qmp"


def _in_fresh_interpreter(statement: str) -> Contestant:
    program = (
        "from time import perf_counter\n"
        "start = perf_counter()\n"
        f"{statement}\n"
        "print(perf_counter() - start)"
    )

    def sample() -> float:
        return float(subprocess.check_output([sys.executable, "-c", program]))

    return sample


@contextmanager
def _contestants(_quick: bool) -> Generator[Mapping[str, Contestant]]:
    statements = [*(row.ours for row in BENCH.rows), _PEER]
    yield {statement: _in_fresh_interpreter(statement) for statement in statements}


BENCH = Bench(
    name="import",
    rows=[
        Row(
            "import",
            ours="import qemu_blocksdk",
            peer=_PEER,
            target=1.25,
            note="the statement alone, in a fresh interpreter; names are loaded on first use",
        ),
        Row(
            "import-blocking",
            ours="from qemu_blocksdk import StorageDaemon",
            peer=_PEER,
            note="the statement alone, with all that a daemon of one's own needs",
        ),
        Row(
            "import-aio",
            ours="import qemu_blocksdk.aio",
            peer=_PEER,
            note="the statement alone, with every awaitable object",
        ),
    ],
    rounds=20,
    contestants=_contestants,
    programs=(),
)
