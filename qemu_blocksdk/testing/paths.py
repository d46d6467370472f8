"""Names for the files and sockets of a test: ``PID-NAME``, so that each process has its own.

``scratch`` removes the files.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast, overload

from qemu_blocksdk.errors import UsageError

from . import scratch
from .env import TestEnv

P = TypeVar("P", Path, tuple[Path, ...])
_BaseDir = str | os.PathLike[str]

_at_exit = contextlib.ExitStack()


def _forget_after_fork() -> None:
    global _at_exit
    _at_exit.pop_all()
    _at_exit = contextlib.ExitStack()


os.register_at_fork(after_in_child=_forget_after_fork)


def file_pattern(name: str) -> str:
    """Return ``PID-NAME``. Raises UsageError for an invalid file name."""
    pattern = f"{os.getpid()}-{name}"
    try:
        data = os.fsencode(pattern)
    except UnicodeError as error:
        raise UsageError(f"{name!r} is not a file's name: {error}") from error
    if not name or b"\0" in data:
        raise UsageError(f"{name!r} is not a file's name")
    if (longest := max(map(len, data.split(b"/")))) > 255:
        raise UsageError(f"a file's name has 255 bytes at the most, {name[:20]!r}... {longest}")
    return pattern


class FilePath(Generic[P]):
    """Paths for files that the end of the block removes, in reverse order::

        with FilePath("a.img", "b.img", env=env) as (a, b):
        with FilePath("nbd.sock", env=env, base_dir=env.sock_dir) as sock:

    They are in ``test_dir``, or in ``base_dir``. If a path in ``sock_dir`` would be too long for a
    socket, it is in a short directory of its own. They are removed also if the process is killed.
    """

    @overload
    def __init__(
        self: FilePath[Path], name: str, /, *, env: TestEnv, base_dir: _BaseDir | None = None
    ) -> None: ...
    @overload
    def __init__(
        self: FilePath[tuple[Path, ...]],
        name: str,
        second: str,
        /,
        *names: str,
        env: TestEnv,
        base_dir: _BaseDir | None = None,
    ) -> None: ...
    def __init__(self, *names: str, env: TestEnv, base_dir: _BaseDir | None = None) -> None:
        """Name the files. Raises UsageError for an invalid name, here or when the block begins."""
        self._names = _checked(names)
        self._env, self._base_dir = env, base_dir
        self._held = contextlib.ExitStack()

    def __enter__(self) -> P:
        with contextlib.ExitStack() as held:
            paths = _enter(held, self._names, self._env, self._base_dir)
            self._held = held.pop_all()
        return cast("P", paths)

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __repr__(self) -> str:
        return f"<paths of {', '.join(map(repr, self._names))}>"


@overload
def file_path(name: str, /, *, env: TestEnv, base_dir: _BaseDir | None = None) -> Path: ...
@overload
def file_path(
    name: str, second: str, /, *names: str, env: TestEnv, base_dir: _BaseDir | None = None
) -> tuple[Path, ...]: ...
def file_path(
    *names: str, env: TestEnv, base_dir: _BaseDir | None = None
) -> Path | tuple[Path, ...]:
    """Return paths like :class:`FilePath`; the end of the process removes the files.

    They are removed in reverse order. Raises UsageError for an invalid name.
    """
    return _enter(_at_exit, _checked(names), env, base_dir)


@atexit.register
def remove_file_paths() -> None:
    """Remove the files that :func:`file_path` has named so far, the last first."""
    # Looked up now, because a child of os.fork() has another.
    _at_exit.close()


def _checked(names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise UsageError("there is no name to make a path of")
    for name in names:
        file_pattern(name)
    return names


def _enter(
    held: contextlib.ExitStack, names: Sequence[str], env: TestEnv, base_dir: _BaseDir | None
) -> Path | tuple[Path, ...]:
    base = env.test_dir if base_dir is None else Path(base_dir)
    paths = tuple(held.enter_context(_file(file_pattern(name), base, env)) for name in names)
    return paths[0] if len(paths) == 1 else paths


@contextlib.contextmanager
def _file(pattern: str, base: Path, env: TestEnv) -> Generator[Path]:
    with contextlib.ExitStack() as held:
        path = base / pattern
        if base == env.sock_dir and not _fits(path):
            # Not a descriptor's path in /proc: the name has to mean the same to other programs.
            path = held.enter_context(scratch.directory(short=True)) / pattern
            if not _fits(path):
                raise UsageError(f"{pattern!r} is too long for the name of a socket")
        held.enter_context(scratch.gone_afterwards(path))
        yield path


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= scratch.SUN_PATH
