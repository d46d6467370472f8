"""Results for people (a table, then what each row means) and for programs (JSON)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from .core import Result, Row

_TITLES = ("row", "ours", "", "peer", "", "result", "middle half", "target", "met")
_RIGHT = frozenset({2, 4, 5, 7})
_MET = {True: "yes", False: "NO", None: "-"}


def table(results: Sequence[Result]) -> str:
    """Return the results as a table of text, with a note for each row below it."""
    lines = [_TITLES, *map(_cells, results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_aligned(line, widths) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    name = widths[0]
    notes = [f"{r.row.name:{name}}  {r.row.note} ({_rounds(r)})" for r in results]
    return "\n".join([*text, "", *notes])


def _cells(result: Result) -> tuple[str, ...]:
    row = result.row
    return (
        row.name,
        row.ours,
        "" if row.kind == "growth" else duration(median(result.ours)),
        row.peer or "",
        "" if result.peer is None else duration(median(result.peer)),
        _in_unit(row, result.value),
        "" if result.rounds == 1 else _range(row, result.low, result.high),
        "" if row.target is None else f"<= {_in_unit(row, row.target)}",
        _MET[result.is_met],
    )


def _aligned(cells: Iterable[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if number in _RIGHT else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _rounds(result: Result) -> str:
    return f"{result.rounds} round{'' if result.rounds == 1 else 's'}"


def _in_unit(row: Row, value: float) -> str:
    match row.kind:
        case "ratio":
            return f"{value:.2f} x" if value >= 0.05 else f"{value:.4f} x"
        case "added":
            return f"{value * 1e3:+.1f} ms"
        case "growth":
            return f"{value:.2f} KiB"
        case "time":
            return duration(value)


def _range(row: Row, low: float, high: float) -> str:
    low_text, high_text = _in_unit(row, low), _in_unit(row, high)
    return f"{low_text if row.kind == 'time' else low_text.split()[0]} .. {high_text}"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them, to three digits."""
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def write_json(path: Path, results: Sequence[Result]) -> None:
    """Write the results, and what they were measured with, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"measured": _circumstances(), "rows": [*map(_json_row, results)]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def _circumstances() -> dict[str, object]:
    """What a reader needs to compare two runs; nothing that tells one machine's name."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "qemu": _qemu_version(),
        "qemu.qmp": version("qemu.qmp"),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }


def _qemu_version() -> str | None:
    try:
        answer = subprocess.run(
            ["qemu-storage-daemon", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.splitlines()[0]


def _json_row(result: Result) -> dict[str, object]:
    row = result.row
    return {
        "name": row.name,
        "kind": row.kind,
        "unit": {"ratio": "x", "added": "s", "growth": "KiB", "time": "s"}[row.kind],
        "ours": _json_side(row.ours, result.ours),
        "peer": _json_side(row.peer, result.peer),
        "result": result.value,
        "quartiles": [result.low, result.high],
        "rounds": result.rounds,
        "target": row.target,
        "met": result.is_met,
        "note": row.note,
    }


def _json_side(what: str | None, samples: Sequence[float] | None) -> dict[str, object] | None:
    if samples is None:
        return None
    return {"what": what, "median": median(samples), "minimum": min(samples)}
