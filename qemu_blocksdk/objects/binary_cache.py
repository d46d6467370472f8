"""What is known of binaries, so that each is asked once per process (:class:`BinaryCache`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import weakref
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class BinaryCache(Generic[T]):
    """The answers to one question, by the identity of the binary.

    Concurrent callers wait for one answer. A failure is not kept.
    """

    def __init__(self) -> None:
        self._known: dict[object, T] = {}
        self._turns = weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[object, asyncio.Lock]
        ]()

    async def of(self, program: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of a program, by ``ask`` unless it is known."""
        binary = binary_identity(program)
        if binary is None:
            return await ask()  # which says what is wrong with it
        turns = self._turns.setdefault(asyncio.get_running_loop(), {})
        async with turns.setdefault(binary, asyncio.Lock()):
            if binary not in self._known:
                self._known[binary] = await ask()
        return self._known[binary]

    def known(self, program: str) -> T | None:
        """Return the answer of a program if it is known, else None."""
        return self._known.get(binary_identity(program))

    def store(self, program: str, answer: T) -> None:
        """Keep an answer that came along with another question."""
        self._known.setdefault(binary_identity(program), answer)


def binary_identity(program: str) -> object:
    """Return what identifies a program: another when its file is replaced, None when there is none.

    The name counts, because one file may be several programs.
    """
    path = shutil.which(program)
    if path is None:
        return None
    with contextlib.suppress(OSError):
        status = os.stat(path)  # noqa: PTH116
        return path.rpartition("/")[2], status.st_dev, status.st_ino, status.st_mtime_ns
    return None
