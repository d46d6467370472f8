"""Which paths are mount points, from the kernel's list alone: no file system is asked."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\(\d{3})")


def is_mount_point(path: str | os.PathLike[str]) -> bool:
    """Tell whether something is mounted at a path: absolute, without links and ``..``."""
    places = (line.split(b" ")[4] for line in _MOUNTS.read_bytes().splitlines())
    wanted = os.fsencode(path)
    return any(
        _ESCAPE.sub(lambda code: bytes([int(code[1], 8)]), place) == wanted for place in places
    )
