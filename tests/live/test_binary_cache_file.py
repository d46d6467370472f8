"""What a binary answered is kept on disk for the next process, and nobody else's word counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk.objects import binary_cache_file
from tests.live.helpers import ROOT

pytestmark = pytest.mark.timeout(60)

PROGRAM = "qemu-system-x86_64"
ASK = """
import sys
from qemu_blocksdk import VM
from qemu_blocksdk.objects import emulator
asked = []
real = emulator.BareVM
emulator.BareVM = lambda **options: asked.append(1) or real(**options)
print(VM(program=sys.argv[1]).query_accelerator(), len(asked))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this user, for the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "qemu-blocksdk"


def ask(program: str = PROGRAM) -> list[str]:
    """Have another process ask for the accelerator; return it and how many QEMUs it took."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout.split()


def test_a_second_process_starts_no_qemu_to_ask(folder: Path) -> None:
    accelerator, asked = ask()
    if os.fspath(ROOT / ".cache") in (os.environ["PATH"]):
        pytest.skip("this QEMU is started by a script, which is asked each time")
    assert asked == "1"
    assert ask() == [accelerator, "0"]
    (kept,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_script_is_asked_each_time_because_it_may_start_any_binary(
    folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "wrapped"
    script.write_text(f'#!/bin/sh\nexec {PROGRAM} "$@"\n')
    script.chmod(0o755)
    assert [ask(str(script))[1], ask(str(script))[1]] == ["1", "1"]
    assert not folder.exists()


def _to_a_link(file: Path) -> None:
    file.rename(file.with_suffix(".there"))
    file.symlink_to(file.with_suffix(".there"))


def _of_yesterday(file: Path) -> None:
    before = time.time() - 25 * 3600
    os.utime(file, (before, before))


def _for_another_binary(file: Path) -> None:
    kept = json.loads(file.read_text())
    kept["key"][2] += 1
    file.write_text(json.dumps(kept))


def _of_another_user(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(file, 65534, -1)


DISTRUSTED: dict[str, Callable[[Path], object]] = {
    "not JSON": lambda file: file.write_text("{"),
    "nested": lambda file: file.write_text("[" * 100_000),
    "another form": lambda file: file.write_text("[]"),
    "old": _of_yesterday,
    "future": lambda file: os.utime(file, (time.time() + 3600, time.time() + 3600)),
    "other binary": _for_another_binary,
    "other user": _of_another_user,
    "writable": lambda file: file.chmod(0o666),
    "writable folder": lambda file: file.parent.chmod(0o777),
    "link": _to_a_link,
}


@pytest.mark.parametrize("spoil", DISTRUSTED.values(), ids=DISTRUSTED)
@pytest.mark.usefixtures("folder")
def test_what_may_come_from_somebody_else_is_not_believed(
    spoil: Callable[[Path], object], folder: Path
) -> None:
    program = sys.executable  # any binary
    binary_cache_file.store("accelerators", program, ["qtest"])
    assert binary_cache_file.load("accelerators", program) == ["qtest"]
    (kept,) = folder.iterdir()
    spoil(kept)
    assert binary_cache_file.load("accelerators", program) is None


def test_where_nothing_can_be_kept_the_binary_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path("/proc/self"), tmp_path / "file" / "below"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        binary_cache_file.store("accelerators", sys.executable, ["tcg"])
        assert binary_cache_file.load("accelerators", sys.executable) is None


def test_concurrent_writers_leave_one_whole_answer(folder: Path) -> None:
    store = (
        "from qemu_blocksdk.objects.binary_cache_file import store\nimport sys\nfor n in range(50):"
    )
    store += "\n    store('q', sys.executable, ['x' * 1000] * n)"
    children = [subprocess.Popen([sys.executable, "-c", store], cwd=ROOT) for _ in range(3)]
    for child in children:
        assert child.wait(timeout=30) == 0
    assert binary_cache_file.load("q", sys.executable) == ["x" * 1000] * 49
    assert len(list(folder.iterdir())) == 1
