"""What a benchmark is, how it is measured, and what its samples come to.

A benchmark opens contestants and runs them in turn, round after round: whatever slows the
machine for a while slows all of them. So each round gives one ratio of ours to the peer's,
and a row's result is the median of those. What the contestants do is no business of this
module.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from typing import Literal

from attrs import frozen

Contestant = Callable[[], float]
"""Does its work once, as often as it takes to measure it; returns what one time cost."""

Samples = Mapping[str, Sequence[float]]
"""By contestant, one number a round: seconds, or KiB for a row of kind `growth`."""

Kind = Literal["ratio", "added", "growth", "time"]
"""Ours in terms of the peer's; seconds on top of the peer's; ours as it is, in KiB or seconds."""


@frozen
class Row:
    """A line of the table: one contestant, the peer that it is held against, and the target.

    The result has to be `target` at most; None: it is shown only.
    """

    name: str
    ours: str
    peer: str | None
    note: str
    target: float | None = None
    kind: Kind = "ratio"


@frozen
class Bench:
    """Rows whose contestants run in the same rounds.

    `contestants` opens them, told whether it is to be quick; `programs` are what must be
    in PATH. With `warm_up`, a round that fills the caches comes first and is not counted.
    """

    name: str
    rows: Sequence[Row]
    rounds: int
    contestants: Callable[[bool], AbstractContextManager[Mapping[str, Contestant]]]
    programs: Sequence[str] = ("qemu-storage-daemon", "setpriv")
    warm_up: bool = True


@frozen
class Result:
    """What came out for a row: the samples, and the quartiles of the result over the rounds.

    The middle one is the result.
    """

    row: Row
    ours: Sequence[float]
    peer: Sequence[float] | None
    value: float
    low: float
    high: float

    @property
    def rounds(self) -> int:
        """How many rounds were counted."""
        return len(self.ours)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.row.target is None else self.value <= self.row.target


def interleave(
    contestants: Mapping[str, Contestant],
    rounds: int,
    *,
    warm_up: bool = True,
) -> Samples:
    """Run the contestants in turn, `rounds` times (A B C A B C ...); return their samples."""
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    if warm_up:
        for run in contestants.values():
            run()
    for _ in range(rounds):
        for name, run in contestants.items():
            samples[name].append(run())
    return samples


def result(row: Row, samples: Samples) -> Result:
    """Return what the samples come to for a row."""
    ours = samples[row.ours]
    peer = None if row.peer is None else samples[row.peer]
    values = [_value(row.kind, *pair) for pair in zip(ours, peer or ours, strict=True)]
    low, middle, high = _quartiles(values)
    return Result(row=row, ours=ours, peer=peer, value=middle, low=low, high=high)


def _value(kind: Kind, ours: float, peer: float) -> float:
    match kind:
        case "ratio":
            return ours / peer
        case "added":
            return ours - peer
        case "growth" | "time":
            return ours


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def select(benches: Sequence[Bench], patterns: Collection[str]) -> list[tuple[Bench, list[Row]]]:
    """Return the rows that the patterns (`execute-raw`, `job*`, or a bench's name) choose.

    Without patterns that is all of them. Raises ValueError for a pattern that chooses none.
    """
    unused = set(patterns)
    chosen: list[tuple[Bench, list[Row]]] = []
    for bench in benches:
        rows: list[Row] = []
        for row in bench.rows:
            hits = {p for p in patterns if p == bench.name or fnmatchcase(row.name, p)}
            unused -= hits
            if hits or not patterns:
                rows.append(row)
        if rows:
            chosen.append((bench, rows))
    if unused:
        raise ValueError(f"no row is called {', '.join(sorted(unused))}")
    return chosen


def contestants_of(rows: Sequence[Row]) -> set[str]:
    """Return the contestants that the rows compare."""
    return {name for row in rows for name in (row.ours, row.peer) if name is not None}


def timed(action: Callable[[], object], *, times: int = 1) -> Contestant:
    """Return a contestant that calls a function `times` in a row; the median time counts.

    So a moment in which somebody else had the processor costs one call, not the round.
    """

    def sample() -> float:
        took: list[float] = []
        for _ in range(times):
            start = time.perf_counter()
            action()
            took.append(time.perf_counter() - start)
        return statistics.median(took)

    return sample


def timed_async(
    runner: asyncio.Runner, action: Callable[[], Awaitable[object]], *, times: int = 1
) -> Contestant:
    """Return a contestant that awaits a function's outcome; the rest as :func:`timed`."""

    async def sample() -> float:
        took: list[float] = []
        for _ in range(times):
            start = time.perf_counter()
            await action()
            took.append(time.perf_counter() - start)
        return statistics.median(took)

    return lambda: runner.run(sample())
