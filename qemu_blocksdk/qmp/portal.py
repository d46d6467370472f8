"""The way from blocking code to the one background event loop of the process.

The loop starts with the first use and lives in a daemon thread. Ctrl-C in a waiting
thread cancels the work, waits until it has unwound, and only then shows.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Generic, TypeVar

from qemu_blocksdk.errors import UsageError

from .unwind import Unit

T = TypeVar("T")

_NAP = 0.2

_start_lock = threading.Lock()
_background: _Background | None = None


class _Background:
    """The loop and its thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="blocksdk", daemon=True)
        self.thread.start()
        atexit.register(self._cancel_all)

    def _cancel_all(self) -> None:
        """Cancel what still runs when the program ends, or Python complains of it."""

        def cancel() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_soon(self.loop.stop)

        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(cancel)
            self.thread.join(1.0)


class Home:
    """The process that an object lives in; a child that came of ``os.fork()`` is another."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is that process."""
        return self is home

    def assert_here(self, what: str) -> None:
        """Raise UsageError where this is not the process that ``what`` lives in."""
        if self is not home:
            raise UsageError(
                f"{what} belongs to process {self._pid}, from before os.fork();"
                " make a new one in the child"
            )


home: Home = Home()


def _forget_after_fork() -> None:
    # The thread exists in the parent only. A child that uses new objects gets its own.
    global _background, _start_lock, home
    _background, _start_lock, home = None, threading.Lock(), Home()


os.register_at_fork(after_in_child=_forget_after_fork)


def _running() -> _Background:
    global _background
    if _background is None:
        with _start_lock:
            if _background is None:
                _background = _Background()
    return _background


def assert_outside(loop_thread: int | None) -> None:
    """Raise UsageError in the thread of that id, whose loop would wait for itself."""
    if threading.get_ident() == loop_thread:
        raise UsageError("a blocking call inside the SDK's own event loop would never return")


class _Outcome(Generic[T]):
    """Runs work on the loop; lets another thread wait for what becomes of it."""

    def __init__(self, work: Coroutine[object, None, T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._done = threading.Lock()
        self._done.acquire()
        self._unit: Unit[T] | None = None

    def _start(self) -> None:
        self._unit = Unit(self._work, is_call=True)
        self._unit.task.add_done_callback(lambda _: self._done.release())

    async def _abandon(self) -> None:
        """Cancel the work; what it has made already, and nobody holds now, unwinds."""
        if self._unit is None:
            self._work.close()
        else:
            await self._unit.give_up(is_patient=False)

    def _has_failed(self) -> bool:
        unit = self._unit
        return unit is not None and unit.task.done() and not unit.has_result

    def _wait_done(self) -> None:
        # Ctrl-C just before Python blocks would be seen when it wakes, so it does now and then.
        while not self._done.acquire(timeout=_NAP):
            pass

    def wait(self) -> T:
        try:
            self._loop.call_soon_threadsafe(self._start)
            self._wait_done()
            assert self._unit is not None
            return self._unit.task.result()
        except BaseException:
            # Ctrl-C, perhaps just after the end: the work unwinds first, for CLEANUP_TIMEOUT at
            # most; a second one stops waiting. Where it has failed there is nothing to unwind.
            if not self._has_failed():
                _Outcome(self._abandon(), self._loop).wait()
            raise


def run(work: Coroutine[object, None, T]) -> T:
    """Run a coroutine on the background loop; return its result or raise its exception.

    Raises UsageError when called from that loop itself.
    """
    try:
        background = _running()
        assert_outside(background.thread.ident)
    except BaseException:
        work.close()
        raise
    return _Outcome(work, background.loop).wait()


def call(function: Callable[[], T]) -> T:
    """Run a plain function in the background loop's thread."""
    return run(_called(function))


async def _called(function: Callable[[], T]) -> T:
    return function()


def iterate(items: AsyncIterator[T]) -> Iterator[T]:
    """Iterate over an async iterator that lives on the background loop."""

    async def following() -> T:
        return await anext(items)

    async def close() -> None:
        if isinstance(items, AsyncGenerator):
            await items.aclose()

    try:
        while True:
            try:
                item = run(following())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(close())
