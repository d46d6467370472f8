"""`python -m benchmarks`: measure what was chosen, print the table, write the JSON.

The table goes to stdout, what is being done to stderr. Every process and file of a
benchmark belongs to a context that ends with it, also after Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from . import (
    create_image,
    execute,
    filters,
    first_add,
    graph,
    harness,
    image_info,
    imports,
    iotests,
    job,
    launch,
    many,
    memory,
    options,
    qemu_io,
    sorting,
)
from .core import Bench, Result, Row, contestants_of, interleave, result, select
from .report import table, write_json

BENCHES = (
    *(imports.BENCH, execute.BENCH, first_add.BENCH, launch.BENCH, job.BENCH, memory.BENCH),
    *(many.BENCH, sorting.BENCH, options.BENCH, graph.BENCH),
    *(filters.BENCH, filters.STREAM),
    *(create_image.BENCH, image_info.BENCH, qemu_io.BENCH),
    harness.BENCH,
    iotests.BENCH,
)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(row.name for bench in BENCHES for row in bench.rows)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure qemu_blocksdk against its peers, side by side, as ratios.",
        epilog=f"Rows: {names}. A pattern chooses several (job*), as does {BENCHES[0].name!r}"
        " and the like, the first word of a family.",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument(
        "--json", type=Path, default=Path(".cache/bench.json"), metavar="PATH", help="%(default)s"
    )
    return parser.parse_args(argv)


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def _measure(bench: Bench, rows: Sequence[Row], *, quick: bool) -> list[Result]:
    rounds = min(bench.rounds, max(3, bench.rounds // 5)) if quick else bench.rounds
    wanted = contestants_of(rows)
    _say(f"{bench.name}: {rounds} x {len(wanted)} ...", end="")
    start = time.perf_counter()
    with bench.contestants(quick) as contestants:
        chosen = {name: run for name, run in contestants.items() if name in wanted}
        samples = interleave(chosen, rounds, warm_up=bench.warm_up)
    _say(f" {time.perf_counter() - start:.1f} s")
    return [result(row, samples) for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit status: 0, 1 for a missed target, 2 for what cannot be run."""
    options = _arguments(argv)
    try:
        chosen = select(BENCHES, options.rows)
    except ValueError as error:
        _say(f"{error}; --help lists them")
        return 2
    missing = {p for bench, _ in chosen for p in bench.programs if shutil.which(p) is None}
    if missing:
        _say(f"not in PATH: {', '.join(sorted(missing))}")
        return 2
    results = [
        line for bench, rows in chosen for line in _measure(bench, rows, quick=options.quick)
    ]
    print(table(results))
    write_json(options.json, results)
    _say(f"written to {options.json}")
    return 1 if options.check and any(line.is_met is False for line in results) else 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as after Ctrl-C, which every loop and context here unwinds on."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    # A package that is in use has its bytecode; without, an import measures the compiler.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        _say("\ninterrupted")
        sys.exit(128 + signal.SIGINT)
