"""Temporary files and directories that are removed also if this process is killed.

Each block removes its own, in reverse order. For SIGKILL and ``os._exit`` there is a shell: it
waits for the end of a pipe that only this process holds, and then removes the entries of a list,
which is a file without a name. It runs while the list has entries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

from qemu_blocksdk.tools.socket_directory import short_directory

SUN_PATH = 107
"""How many bytes a socket's path may have."""

_SHORT = 32
_WAIT = 'read -r _; exec xargs -0r rm -rf -- <"/dev/fd/$0"'  # dash has no <&10


class _Keeper:
    """The list, and the shell that reads it."""

    def __init__(self) -> None:
        self._list = os.memfd_create("blocksdk-keeper")
        self._end = 0
        self._count = 0
        # In a session of its own, so that a signal to our group or terminal leaves it alone.
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT, str(self._list)],
            env={"PATH": os.defpath},  # whatever ours has been set to
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=(self._list,),
            start_new_session=True,
        )

    def add(self, path: Path) -> range:
        entry = os.fsencode(path.absolute()) + b"\0"
        os.pwrite(self._list, entry, self._end)
        place = range(self._end, self._end + len(entry))
        self._end = place.stop
        self._count += 1
        return place

    def drop(self, place: range) -> bool:
        """Remove an entry from the list; return whether it was the last."""
        os.pwrite(self._list, bytes(len(place)), place.start)
        self._count -= 1
        return not self._count

    def stop(self) -> None:
        self._shell.kill()
        self._shell.wait()
        self.let_go()

    def let_go(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        os.close(self._list)
        self._shell.returncode = 0  # in a child of os.fork(), it is not ours to wait for


_lock = threading.Lock()
_keeper: _Keeper | None = None
_kept = set[Path]()


def _let_go_after_fork() -> None:
    global _keeper, _lock
    if _keeper is not None:
        _keeper.let_go()
    _keeper, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_let_go_after_fork)


@contextlib.contextmanager
def gone_afterwards(path: Path) -> Generator[Path]:
    """Remove the file or directory at a path when the block or the process ends."""
    global _keeper
    pid = os.getpid()
    with _lock:
        keeper = _keeper = _keeper or _Keeper()
        place = keeper.add(path)
    try:
        yield path
    finally:
        if os.getpid() == pid:  # a child of os.fork() leaves its parent's alone
            if path in _kept:
                _kept.remove(path)
            else:
                remove(path)
            with _lock:
                if keeper.drop(place):
                    keeper.stop()
                    _keeper = None


def keep(path: Path) -> None:
    """Keep what is at a path when its block of :func:`gone_afterwards` ends."""
    _kept.add(path)


@contextlib.contextmanager
def directory(*, short: bool = False) -> Generator[Path]:
    """Create a private directory for the block. A ``short`` name leaves room for sockets.

    Raises OSError.
    """
    made = short_directory(longest=_SHORT) if short else Path(tempfile.mkdtemp(prefix="blocksdk-"))
    with gone_afterwards(made) as path:
        yield path


def remove(path: Path) -> None:
    """Remove a file or a directory if that is possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
