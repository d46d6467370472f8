"""What every test stands on: an end by Ctrl-C, and skips that say what is missing."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator

import pytest

# Each line is a reason to skip that does not hang on what set-up installs.
MAY_SKIP = (
    r"this QEMU has the qtest accelerator",
    r"no driver 'gluster'",  # which QEMU 11.1 dropped
    r"no driver '((nvme-)?io_uring|virtio-blk-[a-z-]+)'",  # which QEMU 11.1 brought
    r"a line can be written there, and nothing is replaced",
    r"this QEMU is started by a script, which is asked each time",
)


def pytest_configure() -> None:
    """Have Ctrl-C end the programs that tests start, also where it does not end the tests.

    A background job of a shell and what ``nohup`` starts ignore SIGINT, and so do their children.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Return half as many workers again as there are cores: a test waits for QEMU half the time."""
    return min(6, (os.cpu_count() or 1) * 3 // 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI says that nothing may be missing, fail a test that skips because something is."""
    report = yield
    if report.skipped and "BLOCKSDK_NOTHING_MISSING" in os.environ:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not re.search("|".join(MAY_SKIP), reason):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} may not be skipped here: {reason}"
    return report
