"""os.fork() while a daemon is up: the parent goes on, the child is told, nobody dies."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Qmp, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import JobStatusChange, QueryBlockExports, QueryJobs
from tests.live.helpers import Script

# Python 3.12 warns of a fork with threads, which is what this is about.
pytestmark = [
    pytest.mark.timeout(20),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def _in_child(work: Callable[[], None]) -> None:
    """Run in a forked child, which has to succeed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may reach pytest's own code in the child
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_parent_goes_on_after_a_fork(daemon: StorageDaemon) -> None:
    _in_child(lambda: None)
    assert daemon.qmp.execute(QueryJobs()) == []
    daemon.add_node(NullCo(node_name="after"))


def test_a_forked_child_is_told_what_is_wrong(daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="n", size=1 << 28))
    target = daemon.add_node(NullCo(node_name="t", size=1 << 28))
    events = daemon.qmp.events(JobStatusChange)
    job = node.start_backup(target, speed=1)
    qmp, process = daemon.qmp, daemon.process
    uses: list[Callable[[], object]] = [
        lambda: qmp.execute(QueryJobs()),
        lambda: qmp.execute_raw("query-jobs"),
        lambda: daemon.add_node(NullCo(node_name="mine")),
        lambda: daemon.qmp,
        lambda: events.get(timeout=5),
        lambda: job.wait(timeout=5),
        job.cancel,
        node.query_info,
        qmp.close,
        daemon.stop,
        daemon.launch,
        lambda: process.wait(timeout=5),
        process.end,
    ]

    def child() -> None:
        for use in uses:
            with pytest.raises(UsageError, match=r"os\.fork") as caught:
                use()
            assert "\n" not in str(caught.value)

    _in_child(child)
    assert daemon.is_running
    assert [found.id for found in qmp.execute(QueryJobs())] == [job.id]
    job.cancel()
    assert events.get(timeout=5).id == job.id


def test_a_forked_child_has_daemons_of_its_own(daemon: StorageDaemon) -> None:
    def child() -> None:
        with StorageDaemon() as own:
            own.add_node(NullCo(node_name="mine"))
            assert own.node("mine").query_info().drv == "null-co"

    _in_child(child)
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_child_that_leaves_its_parents_blocks_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "second.sock"
    second_monitor = [
        *("--chardev", f"socket,id=path,path={path},server=on,wait=off"),
        *("--monitor", "chardev=path"),
    ]
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(StorageDaemon(args=second_monitor))
        second = stack.enter_context(Qmp.connect(path))
        server = stack.enter_context(daemon.start_nbd_server())
        node = daemon.add_node(NullCo(node_name="n", size=1 << 20))
        export = stack.enter_context(server.export(node))
        stack.enter_context(daemon.qmp.events())
        _in_child(stack.close)
        assert daemon.qmp.execute(QueryJobs()) == []
        assert second.execute(QueryJobs()) == []
        assert [found.id for found in second.execute(QueryBlockExports())] == [export.id]


def test_the_end_of_a_childs_interpreter_ends_no_daemon(tmp_path: Path) -> None:
    source = """
import os, sys, warnings
from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.wire import QueryJobs

# Python 3.12 warns of a fork with threads, which is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)
with StorageDaemon() as daemon:
    daemon.start_nbd_server()
    pid = os.fork()
    if pid == 0:
        sys.exit(0)  # through the block and the interpreter's own clean-up
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert daemon.qmp.execute(QueryJobs()) == []
    assert daemon.is_running
print(daemon.process.exit_status)
"""
    with Script(tmp_path, source) as script:
        assert script.finish() == "0\n"
