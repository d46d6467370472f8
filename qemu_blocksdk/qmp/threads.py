"""Run blocking functions in threads."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(function: Callable[[], T]) -> T:
    """Like ``asyncio.to_thread``, but usable while ``atexit`` handlers run.

    Python's executors accept no work at that time. When the caller is cancelled, the function
    runs on to its end and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            settle = functools.partial(outcome.set_result, function())
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            settle = functools.partial(outcome.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if outcome.done() else settle())

    threading.Thread(target=work, name="blocksdk work", daemon=True).start()
    return await outcome
