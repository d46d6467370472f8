"""How far a tool has come, read from what it prints for ``-p``."""

from __future__ import annotations

import re
from collections.abc import Callable

from qemu_blocksdk.codec import Value

_LONGEST = 80
_PERCENT = re.compile(rb"\((\d+\.\d+)/100%\)")


class ToolProgress(Value):
    """How far an operation is: ``fraction`` from 0.0 to 1.0, after ``elapsed`` seconds."""

    fraction: float
    elapsed: float


class ProgressReader:
    """Takes what a tool prints, a piece at a time; tells each new fraction."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        """Take a piece of output."""
        *lines, rest = (self._rest + data).split(b"\r")
        self._rest = rest[-_LONGEST:]
        for line in lines[-1:]:
            found = _PERCENT.search(line)
            if found is not None:
                self._tell(float(found[1]) / 100)
