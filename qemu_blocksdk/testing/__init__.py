"""Tools for testing disk code: environments, test cases, golden files, replays, faults.

Filters, which make texts comparable, are in ``filters``. Code other than tests does not need this
package. Each name is loaded on first use, because every session of pytest loads the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.lazy import loader

if TYPE_CHECKING:
    from .async_case import AsyncQMPTestCase
    from .case import QMPTestCase
    from .env import TestEnv
    from .factories import (
        AsyncImageFactory,
        AsyncNbdServerFactory,
        AsyncNodeFactory,
        AsyncStorageDaemonFactory,
        AsyncVmFactory,
        ImageFactory,
        NbdServerFactory,
        NodeFactory,
        StorageDaemonFactory,
        VmFactory,
    )
    from .faults import breakpoint_on, failing_requests, full_disk, lost_server, suspended
    from .golden import Golden, WithGolden
    from .paths import FilePath, file_path, file_pattern
    from .qmp_log import QmpLog
    from .replay import ReplayServer, expect, record
    from .requirements import Requires, why_not
    from .skips import skip_for_formats, skip_if_unsupported, skip_if_user_is_root
    from .text import log
    from .timeout import Timeout, wait_for
    from .transcript import Transcript

__all__ = [
    "AsyncImageFactory",
    "AsyncNbdServerFactory",
    "AsyncNodeFactory",
    "AsyncQMPTestCase",
    "AsyncStorageDaemonFactory",
    "AsyncVmFactory",
    "FilePath",
    "Golden",
    "ImageFactory",
    "NbdServerFactory",
    "NodeFactory",
    "QMPTestCase",
    "QmpLog",
    "ReplayServer",
    "Requires",
    "StorageDaemonFactory",
    "TestEnv",
    "Timeout",
    "Transcript",
    "VmFactory",
    "WithGolden",
    "breakpoint_on",
    "expect",
    "failing_requests",
    "file_path",
    "file_pattern",
    "full_disk",
    "log",
    "lost_server",
    "record",
    "skip_for_formats",
    "skip_if_unsupported",
    "skip_if_user_is_root",
    "suspended",
    "wait_for",
    "why_not",
]

_HOMES = {
    **dict.fromkeys((name for name in __all__ if name.endswith("Factory")), "factories"),
    **dict.fromkeys((name for name in __all__ if name.startswith("skip_")), "skips"),
    **dict.fromkeys(("breakpoint_on", "failing_requests", "full_disk"), "faults"),
    **dict.fromkeys(("lost_server", "suspended"), "faults"),
    **dict.fromkeys(("Golden", "WithGolden"), "golden"),
    **dict.fromkeys(("FilePath", "file_path", "file_pattern"), "paths"),
    **dict.fromkeys(("ReplayServer", "expect", "record"), "replay"),
    **dict.fromkeys(("Requires", "why_not"), "requirements"),
    **dict.fromkeys(("Timeout", "wait_for"), "timeout"),
    "AsyncQMPTestCase": "async_case",
    "QMPTestCase": "case",
    "QmpLog": "qmp_log",
    "TestEnv": "env",
    "Transcript": "transcript",
    "log": "text",
}


if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
