"""New files that stand under their final names when they are whole, and not before.

A file is written as a draft, in a private directory in the folder that it is meant for,
and renamed. What is written, and by whom, is no business of this module.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import stat
import struct
from collections.abc import Generator

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.qmp import portal

from .run import Path, as_path


@contextlib.contextmanager
def beside(path: Path, *, replace: bool = True) -> Generator[pathlib.Path]:
    """Write a file under a draft's name; the end of the block gives it the final one.

    Yields the draft, a path of the same base name in a private directory. All that the block
    leaves in there moves into the folder of ``path``, the draft itself last. When the block
    raises, or is interrupted, all of it is removed and ``path`` stays as it was. A symbolic
    link stays one: the file that it points to is replaced.

    Raises UsageError for a folder that is missing or not writable, for a ``path`` that is no
    regular file, that exists where ``replace`` is False, or that a QEMU holds a lock on: it
    would go on with the old file, which nobody finds any more.
    """
    target = _resolved(path)
    _assert_free(target, replace=replace)
    # The name is known before there is such a directory, whenever Ctrl-C comes.
    private = target.with_name(f".blocksdk-{os.urandom(8).hex()}")
    home = portal.home
    try:
        try:
            _make(private)
            yield private / target.name
            _publish(private, target, replace=replace)
        finally:
            _remove(private, home)
    except BaseException:
        # Once more, because Ctrl-C may have cut the first time short.
        _remove(private, home)
        raise


def _resolved(path: Path) -> pathlib.Path:
    try:
        return as_path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL character
        raise UsageError(f"{os.fspath(path)!r} cannot be a file: {error}") from error


def _assert_free(place: pathlib.Path, *, replace: bool) -> None:
    """Raise UsageError unless a new file may stand there."""
    name = str(place)
    try:
        if not stat.S_ISREG(place.stat().st_mode):
            raise UsageError(f"{name!r} exists and is no regular file")
        if not replace:
            raise UsageError(f"{name!r} exists already")
        if _is_locked(place):
            raise UsageError(f"{name!r} is in use by a running QEMU")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"cannot write {name!r}: {error.strerror}") from error


_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP)
"""What a file system without hard links says (vfat): the look before has to do there."""

_FLOCK = "hhqqi4x"
"""C's ``struct flock``: type, whence, start, length, process."""


def _is_locked(path: pathlib.Path) -> bool:
    """Whether a QEMU uses an image, unless with ``locking=off``."""
    # QEMU 7.2: a byte is locked for each permission, from 100 on for those that are used and
    # from 200 on for those that nobody else may have, so any lock in there tells. A raw node
    # that nothing uses yet holds none, so nobody can know of it.
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 100, 200, 0)
    with path.open("rb") as file:
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
    kind: int = struct.unpack(_FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


def _make(private: pathlib.Path) -> None:
    try:
        private.mkdir(0o700)
    except OSError as error:
        raise UsageError(f"cannot write in {str(private.parent)!r}: {error.strerror}") from error


def _publish(private: pathlib.Path, target: pathlib.Path, *, replace: bool) -> None:
    draft = private / target.name
    files = [*(file for file in private.iterdir() if file != draft), draft]
    for file in files:
        _assert_free(target.with_name(file.name), replace=replace)
    if replace:
        for file in files:
            file.replace(target.with_name(file.name))
    else:
        _link(files, target.parent)


def _link(files: list[pathlib.Path], folder: pathlib.Path) -> None:
    """Give the files a second name in the folder. That fails where a rename would replace."""
    places = [folder / file.name for file in files]
    try:
        for file, place in zip(files, places, strict=True):
            place.hardlink_to(file)
    except BaseException as error:
        for file, place in zip(files, places, strict=True):
            if place.exists() and place.samefile(file):
                place.unlink()
        if isinstance(error, FileExistsError):
            raise UsageError(f"{error.filename2!r} exists already") from error
        if not isinstance(error, OSError) or error.errno not in _NO_LINKS:
            raise
        for file, place in zip(files, places, strict=True):
            file.rename(place)


def _remove(private: pathlib.Path, home: portal.Home) -> None:
    # Not shutil.rmtree(): in Python 3.11, Ctrl-C can have it close a descriptor twice.
    if home.is_here and private.exists():
        for file in private.iterdir():
            file.unlink()
        private.rmdir()
