"""What binaries answered, so that each is asked once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from .life import identity

T = TypeVar("T")


class Answers(Generic[T]):
    """The answers to one question, by the identity of the binary.

    Who asks while the question is under way waits for that answer; a failure is no answer.
    """

    def __init__(self) -> None:
        self._known: dict[object, T] = {}
        self._turns = weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[object, asyncio.Lock]
        ]()

    async def of(self, program: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what a program, a name in PATH or a path, answers to ``ask``."""
        binary = identity(program)
        if binary is None:
            return await ask()  # which says what is wrong with it
        turns = self._turns.setdefault(asyncio.get_running_loop(), {})
        async with turns.setdefault(binary, asyncio.Lock()):
            if binary not in self._known:
                self._known[binary] = await ask()
        return self._known[binary]

    def known(self, program: str) -> T | None:
        """Return the answer of a program that was asked already, else None."""
        return self._known.get(identity(program))

    def tell(self, program: str, answer: T) -> None:
        """Keep what a program answered when it was asked for something else as well."""
        self._known.setdefault(identity(program), answer)
