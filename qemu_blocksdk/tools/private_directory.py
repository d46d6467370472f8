"""Private directories beside images, and what is done about those whose maker was killed.

A directory ``.blocksdk-HEX`` has a file ``HEX`` inside that its maker holds a lock on. The kernel
drops the lock however the maker ends, so a free lock proves its death; the file names the kernel,
because only there that is so. Beside it are drafts, which are of no use, and second names:

- ``new/NAME``: of a file that was given its place in the folder, and may have to go again,
- ``old/NAME``: of what it replaced,
- ``kept/NAME``: of a file that stays at its place when its maker is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import pathlib
import re
import stat
import struct
import tempfile
from collections.abc import Generator
from typing import Final

from qemu_blocksdk.qmp import background_loop

NAME: Final = re.compile(r"\.blocksdk-([0-9a-f]{16})")
NEW: Final = "new"
OLD: Final = "old"
KEPT: Final = "kept"

_BOOT: Final = pathlib.Path("/proc/sys/kernel/random/boot_id")
_TAKEN: Final = (errno.EACCES, errno.EAGAIN)
_FLOCK: Final = "hhqqi4x"
"""C's ``struct flock``: type, whence, start, length, process."""

_own = dict[pathlib.Path, object]()
"""Those that this process made or clears: to close the file of such a lock would drop it."""


class PrivateDirectory:
    """A directory of mode 0700 in a folder, for as long as its maker runs at the most."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Name one that is not there yet, so that it can be removed whenever Ctrl-C comes."""
        self._folder = folder
        self._guard = background_loop.process_guard
        self._lock: io.FileIO | None = None
        self.path: pathlib.Path = folder
        self._choose()

    def _choose(self) -> None:
        self.path = self._folder / f".blocksdk-{os.urandom(8).hex()}"

    def make(self) -> None:
        """Make it. Raises OSError."""
        while not self._is_made():
            _own.pop(self.path, None)
            self._choose()

    def _is_made(self) -> bool:
        """Return False where somebody has taken it for a dead one before it was locked."""
        _own[self.path] = self
        self.path.mkdir(0o700)
        lock = _lock_of(self.path)
        try:
            self._lock = io.FileIO(lock, "x")
            self._lock.write(_BOOT.read_bytes())
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._lock.fileno()), lock.stat())
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP) or self._lock is None:
                raise
            self._lock.truncate(0)  # a file system without locks, which prove nothing
            return True

    def files(self) -> list[pathlib.Path]:
        """Return the drafts."""
        lock = _lock_of(self.path)
        return [each for each in self.path.iterdir() if each != lock and not _is_folder(each)]

    def keep(self) -> None:
        """From now on, the files stay at their places when this process is killed."""
        if self._guard.is_here:
            with contextlib.suppress(FileNotFoundError):
                (self.path / NEW).rename(self.path / KEPT)

    def take_back(self) -> None:
        """Remove the files from their places, and give back what they replaced.

        A file that somebody else has put at such a place since is left alone.
        """
        if self._guard.is_here:
            for kind in (NEW, KEPT):
                _take_back(self.path, kind)

    def remove(self) -> None:
        """Remove it, and all in it. May be repeated."""
        if self._guard.is_here:
            if self._lock is not None:
                self._lock.close()  # there may be no other descriptor to list it with
            with contextlib.suppress(FileNotFoundError):
                _remove(self.path)
            _own.pop(self.path, None)


@contextlib.contextmanager
def private_directory(folder: str | os.PathLike[str] | None) -> Generator[pathlib.Path]:
    """Make a directory for temporary files, by default in the folder that is for such.

    What makers that are dead have left in the folder is undone first. Raises OSError.
    """
    place = pathlib.Path(tempfile.gettempdir() if folder is None else folder).absolute()
    clear_dead(place)
    private = PrivateDirectory(place)
    try:
        private.make()
        yield private.path
    finally:
        private.remove()


def clear_dead(folder: pathlib.Path) -> None:
    """Undo what makers that are dead have left in a folder; the rest is left alone."""
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if NAME.fullmatch(entry.name)]
    for path in (folder / name for name in names):
        claim = object()
        try:
            if _own.setdefault(path, claim) is claim:
                with contextlib.suppress(OSError):
                    _clear(path)
        finally:
            if _own.get(path) is claim:
                del _own[path]


def _clear(path: pathlib.Path) -> None:
    if not is_private(path):
        return
    lock = _lock_of(path)
    try:
        file = lock.open("rb+")
    except FileNotFoundError:
        path.rmdir()  # where it is empty; a maker that has come so far makes another
        return
    with file:
        if file.read(64) == _BOOT.read_bytes():
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the maker runs
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                undo(path)


def undo(path: pathlib.Path) -> None:
    """Undo what a maker has left in its directory, and remove that.

    Does nothing while a QEMU uses a file that would have to go. Raises OSError.
    """
    for file in _listed(path / NEW):
        if is_same(file, path.parent / file.name) and is_in_use(file):
            return
    _take_back(path, NEW)
    _remove(path)


def is_private(path: pathlib.Path) -> bool:
    """Whether a directory is this user's, and nobody else can look into it. Raises OSError."""
    status = path.lstat()
    mode = status.st_mode
    return stat.S_ISDIR(mode) and status.st_uid == os.geteuid() and not mode & 0o077


def is_in_use(file: pathlib.Path) -> bool:
    """Whether a QEMU uses an image, unless with ``locking=off``. Raises OSError."""
    with file.open("rb") as opened:
        return is_locked(opened.fileno())


def is_locked(descriptor: int) -> bool:
    """Whether a QEMU uses an image that is open here; see :func:`is_in_use`."""
    # QEMU 7.2: a byte is locked for each permission, from 100 on for those that are used and
    # from 200 on for those that nobody else may have, so any lock in there tells. A raw node
    # that nothing uses yet holds none, so nobody can know of it.
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 100, 200, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    kind: int = struct.unpack(_FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


def is_same(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two names are those of one file, links themselves; False where one is missing."""
    with contextlib.suppress(OSError):
        return os.path.samestat(one.lstat(), other.lstat())
    return False


def _lock_of(path: pathlib.Path) -> pathlib.Path:
    return path / path.name.removeprefix(".blocksdk-")


def _take_back(path: pathlib.Path, kind: str) -> None:
    for file in _listed(path / kind):
        place, old = path.parent / file.name, path / OLD / file.name
        if is_same(file, place):
            if old.exists():
                old.replace(place)
            else:
                place.unlink()


def _listed(folder: pathlib.Path) -> list[pathlib.Path]:
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def _is_folder(path: pathlib.Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _remove(path: pathlib.Path) -> None:
    # Not shutil.rmtree(): in Python 3.11, Ctrl-C can have it close a descriptor twice.
    if not path.exists():
        return
    with contextlib.suppress(OSError):  # where it is empty, without a descriptor
        path.rmdir()
        return
    # The lock at last: without it nobody knows that the rest is of no use.
    lock = _lock_of(path)
    for each in sorted(path.iterdir(), key=lambda each: each == lock):
        if _is_folder(each):
            _remove(each)
        else:
            each.unlink(missing_ok=True)
    path.rmdir()


os.register_at_fork(after_in_child=_own.clear)
