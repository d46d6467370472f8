"""Print how much of each folder of the package the tests ran, from what coverage wrote as JSON.

    python -m scripts.coverage_rooms FILE [LEAST]

Counts lines and branches. With LEAST, a folder below that percentage is named and the exit status
is 1.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePath

PACKAGE = "qemu_blocksdk"
COUNTED = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def rooms(report: str) -> dict[str, float]:
    """Return the percentage of each folder; what is in none is in ``.``."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, found in json.loads(report)["files"].items():
        parts = PurePath(name).parts
        below = parts[parts.index(PACKAGE) + 1 :]
        counts = {key: found["summary"][key] for key in COUNTED}
        sums[below[0] if len(below) > 1 else "."].update(counts)
    figures: dict[str, float] = {}
    for room, each in sorted(sums.items()):
        whole = each["num_statements"] + each["num_branches"]
        if whole:
            figures[room] = 100 * (each["covered_lines"] + each["covered_branches"]) / whole
    return figures


def main(file: str, least: str = "0") -> int:
    """Print a line for each folder; return the exit status."""
    found = rooms(Path(file).read_text())
    for room, percentage in found.items():
        print(f"{percentage:5.1f} % of {room}")
    low = [room for room, percentage in found.items() if percentage < float(least)]
    if low:
        print(f"less than {least} %: {', '.join(low)}", file=sys.stderr)
    return bool(low)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
