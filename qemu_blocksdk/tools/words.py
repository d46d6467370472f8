"""Command lines from typed arguments."""

from __future__ import annotations

from typing import Literal

CacheMode = Literal["none", "writeback", "writethrough", "directsync", "unsafe"]
AioMode = Literal["threads", "native", "io_uring"]
Preallocation = Literal["off", "metadata", "falloc", "full"]


def flags(**given: tuple[str, str | int | bool | None]) -> list[str]:
    """Return the options that are given: ``rate=("-r", 4096)``; True stands alone."""
    words: list[str] = []
    for option, value in given.values():
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words
