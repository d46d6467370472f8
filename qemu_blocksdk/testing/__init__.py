"""What tests of disk code are made with: logs, transcripts of QMP, golden files, fixtures.

What makes texts comparable is in ``filters``; nothing outside tests needs this package. Each
name is loaded when it is first used: the plugin is part of every session of pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .case import QMPTestCase
    from .env import TestEnv
    from .factories import (
        AsyncStorageDaemonFactory,
        AsyncVmFactory,
        ImageFactory,
        NbdServerFactory,
        NodeFactory,
        StorageDaemonFactory,
        VmFactory,
    )
    from .golden import Golden, WithGolden
    from .qmp_log import QmpLog
    from .text import log
    from .transcript import Transcript

__all__ = [
    "AsyncStorageDaemonFactory",
    "AsyncVmFactory",
    "Golden",
    "ImageFactory",
    "NbdServerFactory",
    "NodeFactory",
    "QMPTestCase",
    "QmpLog",
    "StorageDaemonFactory",
    "TestEnv",
    "Transcript",
    "VmFactory",
    "WithGolden",
    "log",
]

_HOMES = {
    **dict.fromkeys((name for name in __all__ if name.endswith("Factory")), "factories"),
    **dict.fromkeys(("Golden", "WithGolden"), "golden"),
    "QMPTestCase": "case",
    "QmpLog": "qmp_log",
    "TestEnv": "env",
    "Transcript": "transcript",
    "log": "text",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
