"""Functions that block, in threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(function: Callable[[], T]) -> T:
    """Do as ``asyncio.to_thread``, also when the program ends.

    The executors of Python take nothing any more once ``atexit`` handlers run. A caller that is
    cancelled leaves the function behind.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            settle = functools.partial(outcome.set_result, function())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            settle = functools.partial(outcome.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(lambda: None if outcome.done() else settle())

    threading.Thread(target=work, name="blocksdk work", daemon=True).start()
    return await outcome
