"""The end of the interpreter: late calls work or raise at once; nothing hangs, nothing is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT, exists, wait_until

pytestmark = pytest.mark.timeout(60)

_START = """
import atexit, contextlib, os, sys, threading, time, weakref
from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.wire import QueryJobs

def say(*what):
    print(*what, flush=True)

def launched():
    daemon = StorageDaemon()
    daemon.launch()
    say("pid", daemon.process.pid)
    return daemon

def fresh():
    with StorageDaemon() as other:
        say("fresh", other.query_jobs() == [])
"""

_WORK: dict[str, tuple[str, str]] = {
    "atexit, registered before the first use": (
        "atexit.register(lambda: say('stopped', d.stop()))\nd = launched()",
        "stopped 0",
    ),
    "atexit, a command": (
        "atexit.register(lambda: say(d.qmp.execute(QueryJobs())))\nd = launched()",
        "[]",
    ),
    "atexit, a probe": (
        "atexit.register(lambda: say(Image.probe(sys.argv[1]).format))\nlaunched().stop()",
        "raw",
    ),
    "atexit, a tool": (
        "atexit.register(lambda: say(Image(sys.argv[1], format='raw').info().virtual_size))\n"
        "launched().stop()",
        "65536",
    ),
    "atexit, a fresh daemon": ("atexit.register(fresh)\nlaunched()", "fresh True"),
    "atexit, the first use at all": ("atexit.register(fresh)", "fresh True"),
    "weakref.finalize": (
        "class X: pass\nx = X()\nweakref.finalize(x, lambda: say('stopped', d.stop()))\n"
        "d = launched()",
        "stopped",
    ),
    "ExitStack": (
        "s = contextlib.ExitStack()\natexit.register(s.close)\n"
        "d = s.enter_context(StorageDaemon())\nsay('pid', d.process.pid)",
        "",
    ),
    "threading's own handlers": (
        "threading._register_atexit(fresh)\nlaunched()",
        "fresh True",
    ),
    "a thread that still works": (
        "d = launched()\n"
        "def work():\n    threading.main_thread().join()\n    say(d.qmp.execute(QueryJobs()))\n"
        "    say('stopped', d.stop())\n"
        "threading.Thread(target=work).start()",
        "stopped 0",
    ),
    "a daemon thread that works on and on": (
        "d = launched()\ndone = threading.Event()\n"
        "def work():\n    with contextlib.suppress(BlockSdkError):\n        while True:\n"
        "            d.qmp.execute(QueryJobs())\n            done.set()\n"
        "threading.Thread(target=work, daemon=True).start()\ndone.wait()",
        "",
    ),
    "a daemon thread that waits": (
        # It is cancelled, may see the end of QEMU, or is frozen before.
        "def wait():\n    with contextlib.suppress(BlockSdkError):\n        d.qmp.events().get()\n"
        "d = launched()\n"
        "threading.Thread(target=wait, daemon=True).start()",
        "",
    ),
    "sys.exit in a block": (
        "with StorageDaemon() as d:\n    say('pid', d.process.pid)\n    sys.exit(0)",
        "",
    ),
    "os._exit in a block": (
        "with StorageDaemon() as d:\n    say('pid', d.process.pid)\n    os._exit(0)",
        "",
    ),
    "an event loop that nobody closed": (
        "import asyncio\nfrom qemu_blocksdk.aio import AsyncStorageDaemon\n"
        "d = AsyncStorageDaemon()\nloop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(d.launch())\nsay('pid', d.process.pid)",
        "",
    ),
}

_RAISE: dict[str, str] = {
    "__del__ of a global": ("class X:\n    def __del__(self): d.stop()\nd = launched()\nx = X()"),
    "a generator that nobody finished": (
        "def items():\n    with StorageDaemon() as d:\n        say('pid', d.process.pid)\n"
        "        yield d\nit = items()\nnext(it)"
    ),
    "a command in a __del__": (
        "class X:\n    def __del__(self, d=launched(), c=QueryJobs()): d.qmp.execute(c)\nx = X()"
    ),
}


def _run(folder: Path, program: str, *, status: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "disk.raw").write_bytes(bytes(65536))
    done = subprocess.run(
        [sys.executable, "-c", program, folder / "disk.raw"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == status, done.stderr
    for pid in re.findall(r"^pid (\d+)", done.stdout, re.MULTILINE):
        wait_until(lambda pid=pid: not exists(int(pid)), what="the end of the daemon")  # type: ignore[misc]
    return done


@pytest.mark.parametrize("way", _WORK)
def test_a_late_call_works(tmp_path: Path, way: str) -> None:
    program, said = _WORK[way]
    done = _run(tmp_path, _START + program)
    assert said in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("way", _RAISE)
def test_a_call_that_comes_too_late_raises_at_once(tmp_path: Path, way: str) -> None:
    done = _run(tmp_path, _START + _RAISE[way])
    assert re.search(r"UsageError: the interpreter|ConnectionLost: .*killed", done.stderr)


def test_a_handler_from_before_the_import_is_called_last_and_works(tmp_path: Path) -> None:
    before = "import atexit\natexit.register(lambda: (fresh(), say('stopped', d.stop())))\n"
    done = _run(tmp_path, f"{before}{_START}\nd = launched()")
    assert "fresh True" in done.stdout
    assert "stopped" in done.stdout
    assert done.stderr == ""


def test_an_exception_out_of_a_block_is_all_that_is_said(tmp_path: Path) -> None:
    program = "with StorageDaemon() as d:\n    say('pid', d.process.pid)\n    raise LookupError"
    done = _run(tmp_path, _START + program, status=1)
    assert re.findall(r"^\w*Error\b", done.stderr, re.M) == ["LookupError"]


_WAIT = {
    "an event": "d.qmp.events().get",
    "all events": "functools.partial(list, d.qmp.events())",
    "a command": "functools.partial(d.qmp.execute, QueryJobs())",
    "a command as a dict": "functools.partial(d.qmp.execute_raw, 'query-jobs')",
    "a job": "d.add_node(NullCo(node_name='n', size=1 << 40)).start_mirror(target).wait",
    "the loss of the connection": "d.qmp.wait_lost",
    "the end of QEMU": "d.process.wait",
    "the launch of another": "StorageDaemon(program=slow).launch",
    "a tool": "functools.partial(Image(sys.argv[1], format='raw').bench, count=1 << 30)",
}


@pytest.mark.parametrize("way", _WAIT)
def test_a_thread_that_still_waits_when_the_program_ends_returns(tmp_path: Path, way: str) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    # A handler that was registered before the SDK's runs after it.
    ends = "import atexit\natexit.register(lambda: (thread.join(5), say(*outcome)))"
    waits = f"""
import functools, signal
from qemu_blocksdk.blockdev import NullCo
slow = {str(slow)!r}
d = launched()
target = d.add_node(NullCo(node_name="target", size=1 << 40))
call = {_WAIT[way]}
outcome = []
def wait():
    try:
        outcome.append(f"returned {{call()}}")
    except BlockSdkError as error:
        outcome.append(f"ours {{error}}")
    except BaseException as error:
        outcome.append(f"not ours {{error!r}}")
thread = threading.Thread(target=wait, daemon=True)
os.kill(d.process.pid, signal.SIGSTOP)
thread.start()
thread.join(0.3)
assert thread.is_alive(), outcome
"""
    done = _run(tmp_path, ends + _START + waits)
    said = done.stdout.splitlines()[1]
    # Programs of ours are killed before, which two of these wait for.
    assert said.startswith("ours ") or said in {"returned -9", "returned None"}
    assert done.stderr == ""
