"""Answers of binaries that are kept on disk, so that a new process need not ask again.

One file for each program and question, in the user's cache folder. A file counts only when it and
its folder belong to this user and nobody else can write to them, when it is not older than a
day, and when its key equals the asked one: the identity of the binary and of its modules' folder.
Writers replace the file as a whole. What goes wrong means: not known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from qemu_blocksdk.codec import JsonValue

_ELF = b"\x7fELF"
_MOST = 1 << 16
_MAX_AGE: Final = 24 * 3600.0
"""Seconds. Modules that a later package adds to a binary change nothing of its identity."""


def load(question: str, program: str) -> JsonValue:
    """Return the answer of a program to a question; None where it is not known."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        key = _key(program)
        if key is not None:
            kept: JsonValue = json.loads(_read(_file(_folder(), question, program)))
            if isinstance(kept, Mapping) and kept.get("key") == key:
                return kept.get("answer")
    return None


def store(question: str, program: str, answer: JsonValue) -> None:
    """Keep the answer of a program to a question, if that can be done safely."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home directory
        if (key := _key(program)) is None:
            return
        folder = _folder()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        _assert_private(folder.lstat(), stat.S_ISDIR)
        draft, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(draft, "w") as file:
                json.dump({"key": key, "answer": answer}, file)
            Path(name).replace(_file(folder, question, program))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _key(program: str) -> JsonValue:
    """Return what identifies a binary; None for a script, which may run any other."""
    path = shutil.which(program)
    if path is None:
        return None
    with Path(path).open("rb") as file:
        if file.read(len(_ELF)) != _ELF:
            return None
        status = os.fstat(file.fileno())
    modules = os.environ.get("QEMU_MODULE_DIR")
    changed = Path(modules).stat().st_mtime_ns if modules else None
    identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return [path, *identity, modules, changed]


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "qemu-blocksdk")


def _file(folder: Path, question: str, program: str) -> Path:
    path = os.fsencode(shutil.which(program) or program)
    return folder / f"{question}-{hashlib.sha256(path).hexdigest()[:32]}.json"


def _read(path: Path) -> str:
    _assert_private(path.parent.lstat(), stat.S_ISDIR)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd) as file:
        status = os.fstat(fd)
        _assert_private(status, stat.S_ISREG)
        if not 0 <= time.time() - status.st_mtime <= _MAX_AGE:
            raise ValueError("too old, or from the future")
        return file.read(_MOST)


def _assert_private(status: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    """Raise PermissionError for what another user owns or can write to."""
    mode = status.st_mode
    if not is_kind(mode) or status.st_uid != os.geteuid() or mode & 0o022:
        raise PermissionError("not this user's alone")
