"""What a test costs that has a QEMU from the pytest plugin: whole sessions of pytest.

The start of pytest, and a first test that has everything loaded, are in both sides of a row, so
they fall out of what is added.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .core import Bench, Contestant, Row

_TESTS = {
    "empty": "def test(number): pass",
    "storage_daemon": "def test(number, storage_daemon): pass",
    "vm": "def test(number, vm): pass",
}
_HEAD = (
    "import pytest\ndef test_first(vm, storage_daemon): pass\n"
    "@pytest.mark.parametrize('number', range({count}))\n"
)
_WORDS = (
    *("-q", "-p", "no:cacheprovider", "-p", "qemu_blocksdk.testing.pytest_plugin"),
    *("-o", "blocksdk_short_names=true"),
)


def _session(folder: Path, *words: str) -> float:
    """Return how long a session takes. All of its tests have to pass."""
    # Whatever else is installed here is on neither side.
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "pytest", *_WORDS, *words]
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return took


@contextmanager
def _contestants(quick: bool) -> Generator[Mapping[str, Contestant]]:
    count = 25 if quick else 50
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for test, source in _TESTS.items():
            (folder / f"test_{test}.py").write_text(_HEAD.format(count=count) + source)

        def each(test: str) -> Contestant:
            return lambda: _session(folder, f"test_{test}.py") / count

        hundred = ("test_storage_daemon.py", "test_vm.py")
        workers = ("-p", "xdist", "-n", "2")

        def whole(*words: str) -> Contestant:
            return lambda: _session(folder, *hundred, *words)

        def without_start(*words: str) -> Contestant:
            return lambda: whole(*words)() - _session(folder, "test_empty.py", *words)

        yield {
            **{test: each(test) for test in _TESTS},
            "one by one": without_start(),
            "-n 2": without_start(*workers),
            "one by one, whole": whole(),
            "-n 2, whole": whole(*workers),
        }


BENCH = Bench(
    name="harness",
    rows=[
        Row(
            "harness-daemon",
            ours="storage_daemon",
            peer="empty",
            note="a test that asks for a running storage daemon, against an empty one",
            target=0.040,
            kind="added",
        ),
        Row(
            "harness-vm",
            ours="vm",
            peer="empty",
            note="a test that asks for a running VM, against an empty one",
            target=0.150,
            kind="added",
        ),
        Row(
            "harness-n2",
            ours="-n 2",
            peer="one by one",
            note="50 tests with a storage daemon and 50 with a VM (--quick: 25) in two workers of"
            " pytest-xdist, less what a session of empty tests takes",
            target=1 / 1.7,
        ),
        # Of which a second is the start of xdist's workers, and QEMU's own start fills a core.
        Row(
            "harness-n2-whole",
            ours="-n 2, whole",
            peer="one by one, whole",
            note="the same with all that pytest and pytest-xdist need to start",
        ),
    ],
    rounds=5,
    contestants=_contestants,
    programs=("qemu-storage-daemon", "qemu-system-x86_64"),
)
