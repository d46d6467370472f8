"""Filter a stream of SIZE bytes that is made on the way.

`python -m benchmarks.children.stream SIZE` prints the process's peak memory in KiB.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from benchmarks.filters import log, six
from qemu_blocksdk.filters import stream


def _lines(size: int) -> Iterator[str]:
    # To make up numbers takes longer than to filter them.
    for line in cycle(list(islice(log(), 1000))):
        yield line
        size -= len(line)
        if size <= 0:
            return


def main(size: int) -> None:
    """Filter, and print."""
    for _ in stream(_lines(size), six()):
        pass
    # getrusage would tell of the process that started us as well.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(peak[1])


if __name__ == "__main__":
    main(int(sys.argv[1]))
