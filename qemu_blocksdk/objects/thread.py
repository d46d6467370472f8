"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from qemu_blocksdk.qmp import clean_up
from qemu_blocksdk.qmp.threads import run_in_thread

T = TypeVar("T")


class _Stopped(BaseException):
    """Unwinds the work that nobody waits for any more."""


async def in_thread(work: Callable[[Callable[[], None]], T]) -> T:
    """Run work in a thread. It is given a check to call often; a cancellation ends it there."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    task = asyncio.ensure_future(run_in_thread(lambda: work(check)))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await clean_up(_ended(task))
        raise


async def _ended(task: asyncio.Future[T]) -> None:
    await asyncio.wait((task,))
    task.exception()
