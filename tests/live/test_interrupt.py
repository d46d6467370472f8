"""Ctrl-C: comes out promptly, cancels the operation, leaves everything usable."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.live.helpers import Script

pytestmark = pytest.mark.timeout(40)

_WAITING = """
import sys
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.wire import JobStatusChange, QueryJobs

with StorageDaemon() as daemon:
    source = daemon.add_node(NullCo(node_name="s", size=1 << 30))
    target = daemon.add_node(NullCo(node_name="t", size=1 << 30))
    job = source.start_backup(target, speed=1)
    events = daemon.qmp.events(JobStatusChange.where(id="nobody"))
    print("waiting", flush=True)
    try:
        if sys.argv[1] == "job.run":
            job.run()
        elif sys.argv[1] == "job.wait":
            job.wait()
        elif sys.argv[1] == "progress":
            for _ in job.progress(interval=10):
                pass
        elif sys.argv[1] == "events.get":
            events.get()
        elif sys.argv[1] == "iteration":
            for _ in events:
                pass
        elif sys.argv[1] == "wait_lost":
            daemon.qmp.wait_lost()
        else:
            daemon.process.wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    left = [found.id for found in daemon.qmp.execute(QueryJobs())]
    print(left == [job.id], job.is_over)
    job.cancel()
    daemon.add_node(NullCo(node_name="after"))
print(daemon.process.exit_status)
"""


@pytest.mark.parametrize(
    "what", ["job.run", "job.wait", "progress", "events.get", "iteration", "wait_lost", "process"]
)
def test_ctrl_c_ends_a_wait_and_the_daemon_goes_on(tmp_path: Path, what: str) -> None:
    with Script(tmp_path, _WAITING, what) as script:
        assert script.line() == "waiting"
        time.sleep(0.1)  # into the wait; before it would do as well, but is another test
        begin = time.monotonic()
        script.interrupt()
        assert script.line() == "interrupted"
        assert time.monotonic() - begin < 1
        # What run() started to wait for it also cancels; the others only wait.
        is_left = "False True" if what == "job.run" else "True False"
        assert script.finish() == f"{is_left}\n0\n"


_COMMAND = """
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import QueryJobs, QueryNamedBlockNodes

with StorageDaemon() as daemon:
    with suspended(daemon):
        print("waiting", flush=True)
        try:
            daemon.qmp.execute(QueryJobs())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    assert daemon.qmp.execute(QueryNamedBlockNodes(flat=True)) == []
    assert daemon.qmp.execute_raw("query-version")["qemu"]["major"] >= 7
print(daemon.process.exit_status)
"""


def test_ctrl_c_ends_a_command_and_its_late_reply_confuses_nothing(tmp_path: Path) -> None:
    with Script(tmp_path, _COMMAND) as script:
        assert script.line() == "waiting"
        time.sleep(0.1)
        begin = time.monotonic()
        script.interrupt()
        assert script.line() == "interrupted"
        assert time.monotonic() - begin < 1
        assert script.finish() == "0\n"


_LAUNCH = """
import sys
from qemu_blocksdk import VM, StorageDaemon

kind = {"StorageDaemon": StorageDaemon, "VM": VM}[sys.argv[1]]
qemu = kind(program=sys.argv[2])
print("waiting", flush=True)
try:
    qemu.launch()
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert not qemu.is_running
from tests.live.helpers import children
assert children() == set(), children()
"""


@pytest.mark.parametrize("kind", ["StorageDaemon", "VM"])
def test_ctrl_c_ends_a_launch_and_leaves_no_process(tmp_path: Path, kind: str) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    with Script(tmp_path, _LAUNCH, kind, str(program)) as script:
        assert script.line() == "waiting"
        time.sleep(0.2)
        begin = time.monotonic()
        script.interrupt()
        assert script.line() == "interrupted"
        assert time.monotonic() - begin < 1
        script.finish()


_HAMMERED = """
import signal, sys, time
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.wire import BlockdevAdd, BlockdevDel, JobStatusChange, QueryJobs, QueryVersion

armed = False

def on_sigint(*_: object) -> None:
    global armed
    if armed:  # once, and only where the script waits for it
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, on_sigint)

interrupts = rounds = 0
with StorageDaemon(command_timeout=5) as daemon:
    node = daemon.add_node(NullCo(node_name="there", size=1 << 20))
    raw = daemon.qmp.execute_raw
    print("up", flush=True)
    end = time.monotonic() + float(sys.argv[1])

    def ask():  # a function: Python 3.12 and later jump back in a `while` outside of the `try`
        global rounds
        while time.monotonic() < end:
            rounds += 1
            assert daemon.qmp.execute(QueryJobs()) == []
            assert daemon.qmp.execute(QueryVersion()).qemu.major >= 7
            assert node.query_info().node_name == "there"
            assert raw("query-chardev")[0]["label"] == "blocksdk-qmp"
            assert raw("query-block-exports") == []

    while time.monotonic() < end:
        try:
            armed = True
            ask()
            armed = False
        except KeyboardInterrupt:
            interrupts += 1
    print("over", flush=True)
    assert daemon.qmp.execute(QueryJobs()) == []
    assert daemon.qmp.is_connected
print(rounds, interrupts)
"""


def test_commands_hammered_with_ctrl_c_each_return_their_own_reply(tmp_path: Path) -> None:
    chance = random.Random(2026)
    with Script(tmp_path, _HAMMERED, "6") as script:
        assert script.line() == "up"
        end = time.monotonic() + 5.5
        while time.monotonic() < end:
            script.interrupt()
            time.sleep(chance.uniform(0.0005, 0.008))  # random moments are the point
        assert script.line() == "over"
        # Python itself complains of a Ctrl-C that came in a weak reference's callback.
        rounds, interrupts = map(int, script.finish(may_complain=True).split())
    assert interrupts > 10
    assert rounds > interrupts


_LAUNCHES_HAMMERED = """
import os, signal, sys, time, traceback
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.wire import QueryJobs
from tests.live.helpers import children, wait_until

armed = False

def on_sigint(*_: object) -> None:
    global armed
    if armed:  # once, and only where the script waits for it
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, on_sigint)

launches = interrupts = losses = 0
print("up", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    try:
        armed = True
        with StorageDaemon() as daemon:
            launches += 1
            assert daemon.qmp.execute(QueryJobs()) == []
        armed = False  # in here: what comes before this line has taken effect is caught
    except KeyboardInterrupt:
        armed = False
        interrupts += 1
        if left := children():
            traceback.print_exc()
            losses += 1
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not children(), what="their end")
armed = False
print("over", flush=True)
assert children() == set(), children()
print(launches, interrupts, losses)
"""


def test_launches_hammered_with_ctrl_c_leave_no_process(tmp_path: Path) -> None:
    chance = random.Random(2026)
    with Script(tmp_path, _LAUNCHES_HAMMERED, "5") as script:
        assert script.line() == "up"
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.005, 0.08))
            script.interrupt()
        assert script.line() == "over"
        launches, interrupts, losses = map(int, script.finish(may_complain=True).split())
    assert interrupts > 10
    assert launches > 5
    # Where it comes at the very entry of __exit__, no Python code can unwind; such a process
    # goes with ours. More than a few strays would be a defect.
    assert losses * 20 <= interrupts
