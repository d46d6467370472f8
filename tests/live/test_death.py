"""kill -9: of the daemon while somebody waits, of the Python process while a QEMU runs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import ConnectionLost
from qemu_blocksdk.wire import JobStatusChange, QueryJobs
from tests.live.helpers import Script, wait_until, with_mark

pytestmark = pytest.mark.timeout(20)

LIMIT = 0.1
"""Seconds from the death of QEMU to the exception of who waits for it."""


def _killer(pid: int) -> tuple[threading.Timer, list[float]]:
    """A timer that kills the process, and where it notes the time."""
    when: list[float] = []

    def kill() -> None:
        when.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)

    return threading.Timer(0.2, kill), when


@pytest.mark.parametrize("waiting", ["job", "progress", "event", "iteration"])
def test_a_blocking_waiter_learns_of_the_daemons_death_at_once(waiting: str) -> None:
    with StorageDaemon() as daemon:
        source = daemon.add_node(NullCo(node_name="s", size=1 << 30))
        target = daemon.add_node(NullCo(node_name="t", size=1 << 30))
        events = daemon.qmp.events(JobStatusChange.where(id="nobody"))
        with source.start_backup(target, speed=1) as job:
            waits: dict[str, Callable[[], object]] = {
                "job": lambda: job.wait(timeout=10),
                "progress": lambda: list(job.progress(interval=10)),
                "event": lambda: events.get(timeout=10),
                "iteration": lambda: next(events),
            }
            timer, killed = _killer(daemon.process.pid)
            timer.start()
            with pytest.raises(ConnectionLost) as caught:
                waits[waiting]()
            took = time.monotonic() - killed[0]
            timer.join()
    assert took < LIMIT
    assert caught.value.exit_status == -signal.SIGKILL
    assert "\n" not in str(caught.value)
    assert "signal 9" in str(caught.value)


def test_an_awaiting_waiter_learns_of_the_daemons_death_at_once() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            source = await daemon.add_node(NullCo(node_name="s", size=1 << 30))
            target = await daemon.add_node(NullCo(node_name="t", size=1 << 30))
            job = await source.start_backup(target, speed=1)
            waiters = [
                asyncio.create_task(job.wait()),
                asyncio.create_task(daemon.qmp.events(JobStatusChange.where(id="nobody")).get()),
                asyncio.create_task(job.run()),
            ]
            await asyncio.wait(waiters, timeout=0.1)
            begin = time.monotonic()
            os.kill(daemon.process.pid, signal.SIGKILL)
            done, pending = await asyncio.wait(waiters, timeout=10)
            assert time.monotonic() - begin < LIMIT
            assert not pending
            for waiter in done:
                error = waiter.exception()
                assert isinstance(error, ConnectionLost)
                assert error.exit_status == -signal.SIGKILL

    asyncio.run(main())


def test_a_command_in_flight_learns_of_the_daemons_death_at_once() -> None:
    with StorageDaemon() as daemon:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        timer, killed = _killer(daemon.process.pid)
        timer.start()
        with pytest.raises(ConnectionLost) as caught:
            daemon.qmp.execute(QueryJobs())
        assert time.monotonic() - killed[0] < LIMIT
        timer.join()
        assert caught.value.exit_status == -signal.SIGKILL
        with pytest.raises(ConnectionLost):
            daemon.qmp.execute(QueryJobs())
        assert not daemon.qmp.is_connected
    assert daemon.process.exit_status == -signal.SIGKILL


def test_the_last_words_of_a_daemon_are_in_the_error(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "a word from inside" >&2\nexec qemu-storage-daemon "$@"\n')
    program.chmod(0o755)
    with StorageDaemon(program=program) as daemon:
        os.kill(daemon.process.pid, signal.SIGABRT)
        daemon.qmp.wait_lost(timeout=5)
        with pytest.raises(ConnectionLost, match="a word from inside") as caught:
            daemon.qmp.execute(QueryJobs())
    assert caught.value.exit_status == -signal.SIGABRT
    assert caught.value.output == "a word from inside\n"


def test_a_daemon_that_ends_by_itself_is_told_with_its_status() -> None:
    with StorageDaemon() as daemon:
        daemon.qmp.execute_raw("quit")
        daemon.qmp.wait_lost(timeout=5)
        with pytest.raises(ConnectionLost) as caught:
            daemon.qmp.execute(QueryJobs())
        assert caught.value.exit_status == 0


_SEVERAL = """
import sys
from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.blockdev import NullCo

args = ["-name", sys.argv[1]]
with VM(args=args) as vm:
    secret = ["--object", f"secret,id={sys.argv[1]},data=x"]
    daemons = [StorageDaemon(args=secret) for _ in range(4)]
    for daemon in daemons:
        daemon.launch()
    source = vm.add_node(NullCo(node_name="s", size=1 << 30))
    job = source.start_backup(vm.add_node(NullCo(node_name="t", size=1 << 30)), speed=1)
    print("up", flush=True)
    job.wait()
"""


def test_no_qemu_outlives_a_killed_python(tmp_path: Path) -> None:
    mark = f"mark{os.getpid()}x{time.monotonic_ns()}"
    with Script(tmp_path, _SEVERAL, mark) as script:
        assert script.line() == "up"
        assert len(with_mark(mark) - {script.pid}) == 5
        script.kill()
    took = wait_until(lambda: not with_mark(mark), what="no QEMU left", timeout=5)
    assert took < 1


_LAUNCHING = """
import sys
from qemu_blocksdk import StorageDaemon

print("go", flush=True)
while True:
    with StorageDaemon(args=["--object", "secret,id=" + sys.argv[1] + ",data=x"]):
        pass
"""


@pytest.mark.parametrize("milliseconds", [0, 2, 5, 9, 14, 20, 27, 35])
def test_no_qemu_outlives_a_python_killed_while_launching(
    tmp_path: Path, milliseconds: int
) -> None:
    mark = f"mark{os.getpid()}x{time.monotonic_ns()}"
    with Script(tmp_path, _LAUNCHING, mark) as script:
        assert script.line() == "go"
        time.sleep(milliseconds / 1000)  # where in the launch it hits is what varies
        script.kill()
    took = wait_until(lambda: not with_mark(mark), what="no QEMU left", timeout=5)
    assert took < 1


_KILLED_BEFORE_THE_LEASH = """
import os, signal, sys
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.qmp import parent_death

parent_death.ParentDeathSignal.arm = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
print("go", flush=True)
StorageDaemon(args=["--object", "secret,id=" + sys.argv[1] + ",data=x"]).launch()
"""


def test_no_qemu_starts_when_python_was_killed_before_it_was_on_the_leash(tmp_path: Path) -> None:
    mark = f"mark{os.getpid()}x{time.monotonic_ns()}"
    with Script(tmp_path, _KILLED_BEFORE_THE_LEASH, mark) as script:
        assert script.line() == "go"
        wait_until(lambda: not with_mark(mark), what="no QEMU and no Python left", timeout=5)
