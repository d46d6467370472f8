"""Time limits around what waits for a real QEMU, and what it is left in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.testing.timeout import Timeout

pytestmark = pytest.mark.timeout(30)


def forever(work: Callable[[], object]) -> None:
    """Do the work again and again."""
    while True:
        work()


def launch_and_stop() -> None:
    """A daemon's whole life."""
    with StorageDaemon():
        pass


def test_asking_again_and_again_ends_and_the_daemon_can_be_asked_on(
    daemon: StorageDaemon,
) -> None:
    begin = time.monotonic()
    with (
        pytest.raises(DeadlineExceeded, match=r"^gave up on the job to pause after 0.2 s$"),
        Timeout(0.2, "the job to pause"),
    ):
        forever(daemon.query_jobs)
    assert 0.2 <= time.monotonic() - begin < 2.0
    assert daemon.query_jobs() == []


def test_a_command_that_is_not_answered_ends_within_a_second(daemon: StorageDaemon) -> None:
    pid = daemon.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="an answer"), Timeout(0.2, "an answer"):
            daemon.query_jobs()
        assert 0.2 <= time.monotonic() - begin < 2.5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert daemon.query_jobs() == []


def test_a_launch_that_is_given_up_leaves_nothing() -> None:
    for _ in range(5):
        with pytest.raises(DeadlineExceeded), Timeout(0.02, "many daemons"):
            forever(launch_and_stop)
