"""What the objects of a running QEMU share: commands about themselves."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine, Generator
from typing import TypeVar

from qemu_blocksdk.codec import Command
from qemu_blocksdk.errors import BlockSdkError, ConnectionLost
from qemu_blocksdk.qmp import AsyncQmp
from qemu_blocksdk.qmp.cancellation import is_cleaning_up

R = TypeVar("R")

_following = set[asyncio.Task[None]]()


class Live:
    """An object of a running QEMU. The errors of its verbs begin with its repr."""

    _qmp: AsyncQmp

    def _connection(self) -> AsyncQmp:
        return self._qmp

    async def _execute(self, command: Command[R], *, timeout: float | None = None) -> R:
        """Do as :meth:`AsyncQmp.execute`; an error says whose verb it was."""
        if is_cleaning_up(self._connection()) and timeout is None:
            timeout = math.inf  # what is cleaned up has a limit as a whole
        with naming(self, command):
            return await self._connection().execute(command, timeout=timeout)


@contextlib.contextmanager
def naming(of: object, command: Command[object]) -> Generator[None]:
    """Have the errors of a command name the object whose verb it was."""
    try:
        yield
    except BlockSdkError as error:
        error.subject = subject(of)
        if isinstance(error, ConnectionLost):
            error.subject += f": {command._name}"
        raise


def subject(of: object) -> str:
    """Return how errors name an object: its repr, for either face."""
    return repr(of).removeprefix("<").removeprefix("Async").removesuffix(">")


def follow(
    of: object,
    work: Coroutine[object, None, None],
    on_end: Callable[[BlockSdkError], None],
) -> asyncio.Task[None]:
    """Start a task that goes on to its end even when nobody holds the object that it follows.

    However it ends, by an error of any kind or cancelled, ``on_end`` is called with the error to
    raise in those who wait, if they still do.
    """

    def ended(task: asyncio.Task[None]) -> None:
        _following.discard(task)
        error = None if task.cancelled() else task.exception()
        if not isinstance(error, BlockSdkError):
            why = "" if error is None else f" by {error!r}"
            cause, error = error, BlockSdkError(f"nothing more is known of it: its end{why}")
            error.__cause__, error.subject = cause, subject(of)
        on_end(error)

    # An event loop holds its tasks weakly.
    task = asyncio.create_task(work)
    _following.add(task)
    task.add_done_callback(ended)
    return task
