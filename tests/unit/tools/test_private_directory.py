"""What makers of private directories leave that were killed is undone, and nothing else."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qemu_blocksdk.tools.atomic_write import atomic_write, undo_on_failure
from qemu_blocksdk.tools.private_directory import clear_dead

STAGES = {
    "made": "        {say}",
    "drafted": "        draft.write_text('new')\n        {say}",
    "published": "{parts}\n    {say}",
    "settled": "{parts}\n    published.settle()\n    {say}",
}
_MAKER = """
import os, sys, time
from qemu_blocksdk.tools.atomic_write import atomic_write, undo_on_failure
with undo_on_failure() as published:
    with atomic_write(sys.argv[1], replace=True, published=published) as draft:
"""
_PARTS = """        draft.write_text("new")
        draft.with_name("part").write_text("new")"""


def script(stage: str, *, then: str = "time.sleep(60)") -> str:
    """A maker that comes to a stage and says so."""
    say = f"print('ready', flush=True); {then}"
    return _MAKER + STAGES[stage].format(say=say, parts=_PARTS)


@contextmanager
def maker(code: str, path: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run a maker until it says that it is ready; it is killed in the end."""
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def private(folder: Path) -> list[Path]:
    return list(folder.glob(".blocksdk-*"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_what_a_killed_maker_left_is_undone_and_what_a_living_one_has_is_not(
    path: Path, stage: str, is_new: bool
) -> None:
    if not is_new:
        path.write_text("old")
    before = content(path.parent)
    with maker(script(stage), path) as process:
        meanwhile = content(path.parent)
        assert len(private(path.parent)) == 1
        process.send_signal(signal.SIGSTOP)
        clear_dead(path.parent)
        assert content(path.parent) == meanwhile
        assert len(private(path.parent)) == 1
    clear_dead(path.parent)
    assert private(path.parent) == []
    assert content(path.parent) == (meanwhile if stage == "settled" else before)


def test_the_next_file_in_the_folder_does_that(path: Path) -> None:
    path.write_text("old")
    with maker(script("published"), path):
        pass
    with atomic_write(path.with_name("other")) as draft:
        assert path.read_text() == "old"
        draft.write_text("x")
    assert private(path.parent) == []


def test_a_fork_of_a_killed_maker_does_not_keep_it_alive(path: Path) -> None:
    path.write_text("old")
    then = "os.fork() or (time.sleep(5), os._exit(0)); time.sleep(60)"
    with maker(script("published", then=then), path):
        pass
    clear_dead(path.parent)
    assert content(path.parent) == {"disk.img": "old"}


def test_what_somebody_put_at_the_place_since_is_theirs(path: Path) -> None:
    path.write_text("old")
    with maker(script("published"), path):
        pass
    path.unlink()
    path.write_text("theirs")
    clear_dead(path.parent)
    assert content(path.parent) == {"disk.img": "theirs"}


def test_a_file_that_a_qemu_uses_stays_until_it_does_not(path: Path) -> None:
    path.write_text("old")
    with maker(script("published"), path):
        pass
    with path.open("rb+") as file:
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
        clear_dead(path.parent)
        assert content(path.parent) == {"disk.img": "new", "part": "new"}
    clear_dead(path.parent)
    assert content(path.parent) == {"disk.img": "old"}


def _of_another_kernel(left: Path) -> None:
    (left / left.name.removeprefix(".blocksdk-")).write_text("another\n")


def _without_a_lock(left: Path) -> None:
    (left / left.name.removeprefix(".blocksdk-")).unlink()


def _with_a_public_mode(left: Path) -> None:
    left.chmod(0o755)


def _by_another_name(left: Path) -> None:
    left.rename(left.with_name(".blocksdk-mine"))


@pytest.mark.parametrize(
    "change", [_of_another_kernel, _without_a_lock, _with_a_public_mode, _by_another_name]
)
def test_what_is_not_proven_to_be_a_dead_makers_stays(
    path: Path, change: Callable[[Path], None]
) -> None:
    path.write_text("old")
    with maker(script("published"), path):
        pass
    change(private(path.parent)[0])
    clear_dead(path.parent)
    assert content(path.parent) == {"disk.img": "new", "part": "new"}
    assert len(private(path.parent)) == 1


def test_a_maker_that_is_taken_for_a_dead_one_begins_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another process comes between the making of the directory and its lock.
    real, calls = io.FileIO, list[Path]()

    def interfering(name: Path, mode: str) -> object:
        calls.append(name)
        if len(calls) == 1:
            command = (
                "import pathlib, sys\n"
                "from qemu_blocksdk.tools.private_directory import clear_dead\n"
                "clear_dead(pathlib.Path(sys.argv[1]))\n"
            )
            subprocess.run([sys.executable, "-c", command, path.parent], check=True)
        return real(name, mode)

    monkeypatch.setattr(io, "FileIO", interfering)
    with atomic_write(path) as draft:
        draft.write_text("new")
    assert len(calls) == 2
    assert content(path.parent) == {"disk.img": "new"}
    assert private(path.parent) == []


def test_published_files_are_undone_also_after_they_are_settled(path: Path) -> None:
    path.write_text("old")

    def fail() -> None:
        with undo_on_failure() as published:
            with atomic_write(path, replace=True, published=published) as draft:
                draft.write_text("new")
            published.settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert content(path.parent) == {"disk.img": "old"}
    assert private(path.parent) == []
