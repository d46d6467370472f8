"""What tests of disk code are made with: logs, transcripts of QMP, golden files, sessions without
QEMU, faults.

What makes texts comparable is in ``filters``; nothing outside tests needs this package. What needs
more than text is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .golden import Golden, WithGolden
from .text import log
from .transcript import Transcript

if TYPE_CHECKING:
    from .faults import breakpoint_on, failing_requests, full_disk, lost_server, suspended
    from .replay import ReplayServer, expect, record

__all__ = [
    "Golden",
    "ReplayServer",
    "Transcript",
    "WithGolden",
    "breakpoint_on",
    "expect",
    "failing_requests",
    "full_disk",
    "log",
    "lost_server",
    "record",
    "suspended",
]

_HOMES = dict.fromkeys(("ReplayServer", "expect", "record"), ".replay") | dict.fromkeys(
    ("breakpoint_on", "failing_requests", "full_disk", "lost_server", "suspended"), ".faults"
)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
