"""Clean-up that is not cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[object, None, T]) -> T:
    """Run clean-up to its end, however often the caller is cancelled meanwhile.

    Returns what it returns and raises what it raises; a cancellation comes after it and
    instead of that.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody misses it
        raise cancellation
    return task.result()
