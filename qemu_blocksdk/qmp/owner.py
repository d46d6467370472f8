"""Owners of temporary objects in a QEMU: the owner's id is part of each object's name.

An owner is one connection. In a QEMU that is not ours, it locks a file named by its id, in a
private directory that does not depend on the environment. The kernel drops the lock when the
process ends, however it ends; neither a reused process id nor a fork matters. A file without a
lock proves that the owner is dead. A missing file proves nothing: the owner may be on another
host, in another container, of another user, or it has ended normally.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import re
import stat
import struct
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final, Literal

OwnerState = Literal["alive", "dead", "unknown"]
"""What is known of an owner; one that is ``unknown`` has to count as alive."""

PREFIX: Final = "blocksdk-"
_NAME: Final = re.compile(rf"{PREFIX}([0-9a-f]{{8}})-[0-9]+(?![0-9a-z])")
# /dev/shm first: services with a /tmp of their own have it in common.
_PLACES: Final = ("/dev/shm", "/tmp", "/var/tmp")
_FLOCK: Final = "hhqqi4x"
"""C's ``struct flock``: type, whence, start, length, process id."""


class Owner:
    """Generates unique names; temporary objects get a :meth:`temporary_name`."""

    def __init__(self, *, is_guest: bool) -> None:
        """Choose a random id; ``is_guest``: the QEMU is not ours and outlives this owner."""
        self.id: str = os.urandom(4).hex()
        self.is_guest: bool = is_guest
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._has_ended = False
        self._works = 0
        self._file: tuple[int, Path] | None = None

    def temporary_name(self) -> str:
        """Return a new name, of at most 31 characters, for an object that ends with its owner."""
        with self._lock:
            if self not in _alive and not self._has_ended:
                _alive.add(self)
                self._file = _locked_file(self.id) if self.is_guest else None
        return f"{PREFIX}{self.id}-{next(self._numbers)}"

    def lasting_name(self, kind: str) -> str:
        """Return a new name for an object that may outlive its owner."""
        return f"{kind}-{self.id}-{next(self._numbers)}"

    @contextlib.contextmanager
    def at_work(self) -> Generator[None]:
        """Mark that QEMU holds temporary objects until the block ends."""
        with self._lock:
            self._works += 1
        try:
            yield
        finally:
            with self._lock:
                self._works -= 1

    def end(self, *, in_order: bool) -> None:
        """Give up the lock. ``in_order``: objects that remain were meant to. May be repeated."""
        with self._lock:
            self._has_ended = True
            _alive.discard(self)
            file, self._file = self._file, None
            if file is not None:
                if in_order and not self._works:
                    file[1].unlink(missing_ok=True)
                os.close(file[0])


_alive = set[Owner]()


def owner_of(name: str) -> str | None:
    """Return the owner's id in the name of a temporary object; None for any other name."""
    found = _NAME.match(name)
    return None if found is None else found[1]


def owner_state(id: str) -> OwnerState:
    """Return whether the process of an owner still runs."""
    # Closing a file drops the lock that this process has on it, so ours are not opened.
    if any(owner.id == id for owner in tuple(_alive)):
        return "alive"
    for folder in _folders():
        with contextlib.suppress(OSError):
            return "alive" if _is_locked(folder / id) else "dead"
    return "unknown"


def forget_owner(id: str) -> None:
    """Remove the file of a dead owner, after its last object was removed."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            if not _is_locked(folder / id):
                (folder / id).unlink()


def _folders(*, make: bool = False) -> list[Path]:
    """Return the private directories that exist; with ``make``, create them first."""
    found: list[Path] = []
    for place in _PLACES:
        folder = Path(place, f"{PREFIX}owners-{os.geteuid()}")
        with contextlib.suppress(OSError):
            if make:
                folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
            is_private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
            if stat.S_ISDIR(status.st_mode) and is_private:
                found.append(folder)
    return found


def _locked_file(id: str) -> tuple[int, Path] | None:
    """Create and lock the file of an owner; None where that fails, so its death is unprovable."""
    for folder in _folders(make=True):
        path = folder / id
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # A lock of POSIX: a child of os.fork() does not inherit it.
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                path.unlink()
                os.close(fd)
                raise
            return fd, path
    return None


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
    kind: int = struct.unpack(_FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


@atexit.register
def _end_all() -> None:
    for owner in tuple(_alive):
        owner.end(in_order=True)


def _forget_after_fork() -> None:
    # The owners are the parent's, and a lock that one of its threads held stays locked here.
    _alive.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
