"""What the live tests share: programs to run, conditions to wait for, things left behind."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).parents[2]


class MakeImage(Protocol):
    """Create an image in the test's folder; return its path."""

    def __call__(
        self,
        name: str = "disk.qcow2",
        *,
        size: str = "16M",
        fmt: str = "qcow2",
        backing: Path | None = None,
        write: str | None = None,
    ) -> Path:
        """``write`` is an argument of qemu-io's ``write``: ``-P 7 0 1M``."""
        ...


def wait_until(condition: Callable[[], bool], *, what: str, timeout: float = 5.0) -> float:
    """Wait until the condition holds; return how long that took, in seconds."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout:
            raise AssertionError(f"waited {timeout:g} s in vain: {what}")
        time.sleep(0.002)  # the pace of the looking, not what is waited for
    return time.monotonic() - begin


def run(*argv: str | Path) -> str:
    """Run a program to its end; return its output. It has to succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@functools.cache
def lacks(driver: str) -> bool:
    """Whether the QEMU in PATH has no such block driver, or not the module with it."""
    argv = ["qemu-img", "info", f'json:{{"driver":"{driver}"}}']
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return "Unknown driver" in done.stderr


def needs_driver(driver: str) -> None:
    """Skip a test where QEMU lacks a block driver."""
    if lacks(driver):
        pytest.skip(f"this QEMU has no driver {driver!r} (Debian has some in qemu-block-extra)")


def write_with_qemu_io(target: str | Path, *commands: str, fmt: str = "qcow2") -> None:
    """Let qemu-io carry out commands on an image or NBD address."""
    script = [part for command in commands for part in ("-c", command)]
    run("qemu-io", "-f", fmt, *script, target)


def are_equal(one: Path, other: Path) -> bool:
    """Whether ``qemu-img compare`` finds the same content in two images."""
    argv = ["qemu-img", "compare", "-U", str(one), str(other)]
    return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0


def parent_of(pid: int) -> int | None:
    """The parent of a process; None where there is no such process or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return None if state == "Z" else int(parent)


def exists(pid: int) -> bool:
    """Whether a process runs."""
    return parent_of(pid) is not None


def children() -> set[int]:
    """The process ids of our children."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid for pid in pids if parent_of(pid) == os.getpid()}


def with_mark(mark: str) -> set[int]:
    """The processes that have a word on their command line, zombies aside."""
    found = set[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes() and exists(int(entry.name)):
                    found.add(int(entry.name))
    return found


_COUNTED = re.compile(r"socket:|anon_inode:\[?(pidfd|eventpoll)")


def descriptors() -> set[str]:
    """Our open sockets, watched processes and epoll sets."""
    found = set[str]()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if _COUNTED.match(target):
                found.add(f"{entry.name} -> {target}")
    return found


def left_in(folder: Path) -> set[Path]:
    """Sockets in a folder and all below."""
    return {path for path in folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)}


def scratch() -> set[Path]:
    """The directories that the SDK made for itself."""
    return set(Path(tempfile.gettempdir()).glob("blocksdk-*"))


@contextlib.contextmanager
def nothing_left_behind(*folders: Path) -> Generator[None, None, None]:
    """Fail when the block leaves a child process, a descriptor, a scratch directory or a socket."""
    before = children(), descriptors(), scratch()

    def remains() -> list[str]:
        left: list[object] = [f"process {pid}" for pid in children() - before[0]]
        left += descriptors() - before[1]
        left += scratch() - before[2]
        left += [path for folder in folders for path in left_in(folder)]
        return list(map(str, left))

    yield
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not remains(), what="nothing left behind", timeout=2.0)
    assert remains() == []


class Script:
    """A Python program of a test, in a process of its own."""

    def __init__(self, folder: Path, source: str, *arguments: str) -> None:
        path = folder / "script.py"
        path.write_text(source)
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed on leaving
        self._popen = subprocess.Popen(
            [sys.executable, path, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.gettempdir()},
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def line(self) -> str:
        """The next line that it prints; it has to come."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, f"the script ended: {self._said()}"
        return line.strip()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def interrupt(self) -> None:
        """Send it what Ctrl-C sends."""
        self._popen.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait for its end."""
        self._popen.kill()
        self._popen.wait(timeout=5)

    def finish(self, *, timeout: float = 20.0, may_complain: bool = False) -> str:
        """Wait for its end, which has to be a good one; return the rest of its output.

        It has to be silent on stderr, unless it ``may_complain``.
        """
        assert self._popen.stdout is not None
        output = self._popen.stdout.read()
        self._popen.wait(timeout=timeout)
        errors = self._said()
        assert self._popen.returncode == 0, f"exit {self._popen.returncode}: {output}{errors}"
        assert may_complain or errors == "", errors
        return output

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen.poll() is None:
            self.kill()
        self._errors.close()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
