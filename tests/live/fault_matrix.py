"""The fault matrix: what happens to an operation when something fails in the middle of it.

``python -m tests.live.fault_matrix [FAULT] [OPERATION]`` prints the cells as a table. Each cell is
a process of its own (``fault_cell.py``), because some faults, such as a lack of descriptors, are
the process's. ``test_fault_matrix.py`` runs every cell as a test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.live.helpers import ROOT, exists

FAULTS = {
    "killed": "the program is killed",
    "stopped": "the program stands still (SIGSTOP)",
    "exits": "the program ends by itself",
    "closed": "the monitor's connection is cut",
    "full": "the disk is full",
    "nbd": "the NBD server is gone",
    "sigint": "Ctrl-C",
    "cancelled": "the task is cancelled",
    "limit": "the time limit is reached",
    "fork": "a forked child uses the object",
    "descriptors": "this process has no descriptors left",
    "memory": "the program gets no memory",
}
OPERATIONS = {
    "attach": "StorageDaemon.attach",
    "command": "qmp.execute",
    "running": "job.run",
    "ready": "job.wait of a mirror that is ready",
    "transaction": "Transaction.commit",
    "graph": "daemon.graph",
    "launch": "StorageDaemon.launch",
    "shutdown": "daemon.stop",
    "tool": "Image.convert with progress",
    "recipe": "Backup.full",
    "qemu-io": "QemuIo.raw",
}
_NO_TARGET = "it writes to no disk of this host"
_NO_NBD = "it uses no NBD server"
_NO_MONITOR = "the program has no monitor"
DOES_NOT_APPLY = {
    **{
        ("full", operation): _NO_TARGET
        for operation in ("attach", "command", "ready", "transaction", "graph", "shutdown")
    },
    **{
        ("nbd", operation): _NO_NBD
        for operation in ("attach", "command", "transaction", "graph", "launch", "recipe")
    },
    ("nbd", "shutdown"): "QEMU ends without the server",
    **dict.fromkeys([("closed", "tool"), ("closed", "qemu-io")], _NO_MONITOR),
    ("limit", "shutdown"): "its `grace` is no limit: the program is killed after it",
    ("limit", "graph"): "it is the limit of a command, whose cell this is",
}
"""Cells that make no sense, and why."""

LIMIT = 1.0
"""Seconds that an operation may take, where it takes a limit."""
CLEANUP = 0.5
"""CLEANUP_TIMEOUT in the cells."""
_LONGEST = 45.0
"""Seconds after which a cell hangs."""


@dataclass
class Cell:
    """The outcome of a cell."""

    fault: str
    operation: str
    raised: str = ""
    """The class of the error, or ``none``."""
    message: str = ""
    is_of_the_tree: bool = False
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list[str])
    """What is wrong; nothing in a good cell."""

    def __str__(self) -> str:
        verdict = "; ".join(self.complaints) or "ok"
        return (
            f"{self.fault} x {self.operation}: {self.raised} after {self.seconds:.2f} s: {verdict}"
        )


CELLS = [
    (fault, operation)
    for fault in FAULTS
    for operation in OPERATIONS
    if (fault, operation) not in DOES_NOT_APPLY
]
"""The fault and the operation of each cell that applies."""


def run_cell(fault: str, operation: str) -> Cell:
    """Run a cell in a process of its own; complain about all that is not as promised."""
    cell = Cell(fault, operation)
    with tempfile.TemporaryDirectory(prefix="cell-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        mark = f"FAULT_CELL={folder.name}"
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.live.fault_cell", fault, operation, name],
            cwd=ROOT,
            env={
                **os.environ,
                "TMPDIR": str(folder / "tmp"),
                "FAULT_CELL": folder.name,
                "PYTHONPATH": str(ROOT),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = child.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            cell.complaints.append("it hangs")
        _read(cell, output)
        orphans = [pid for pid in _marked(mark) if exists(pid)]
        for pid in orphans:
            os.kill(pid, 9)
        if orphans:
            cell.complaints.append(f"{len(orphans)} processes are left")
        if left := sorted(str(path.relative_to(folder)) for path in folder.rglob("*")):
            left.remove("tmp")
            if left:
                cell.complaints.append(f"files are left: {' '.join(left)}")
    return cell


def _read(cell: Cell, output: str) -> None:
    lines = output.splitlines()
    if not lines or not lines[-1].startswith("{"):
        cell.complaints.append(f"no result: {output[-2000:]}")
        return
    found = json.loads(lines.pop())
    cell.raised, cell.message = found["raised"], found["message"]
    cell.seconds, cell.is_of_the_tree = found["seconds"], found["is_of_the_tree"]
    cell.complaints += found["complaints"]
    if lines:
        cell.complaints.append("it prints: " + "\n".join(lines)[-2000:])


def _marked(mark: str) -> Iterator[int]:
    """Yield the processes that have inherited the environment of a cell."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environment.split(b"\0"):
                yield int(process.name)


def main(words: list[str]) -> int:
    """Print the cells that have these words, or all, and how many are bad."""
    chosen = [cell for cell in CELLS if not words or set(words) & set(cell)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run_cell, *zip(*chosen, strict=True)))
    results = {(cell.fault, cell.operation): cell for cell in found}
    print("| fault |", " | ".join(OPERATIONS), "|")
    print("|---" * (len(OPERATIONS) + 1) + "|")
    for fault in FAULTS:
        row = [_shown(results.get((fault, operation))) for operation in OPERATIONS]
        print("|", FAULTS[fault], "|", " | ".join(row), "|")
    print()
    for (fault, operation), reason in DOES_NOT_APPLY.items():
        print(f"- {fault} x {operation} does not apply: {reason}.")
    bad = [cell for cell in found if cell.complaints]
    for cell in bad:
        print(f"BAD {cell} ({cell.message})")
    print(f"{len(found) - len(bad)} passed, {len(bad)} failed")
    return bool(bad)


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{'BAD ' if cell.complaints else ''}{cell.raised} {cell.seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
