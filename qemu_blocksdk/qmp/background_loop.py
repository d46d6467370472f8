"""Run coroutines of blocking code on the one background event loop of the process.

The loop runs in a daemon thread, which starts with the first call. Ctrl-C in a waiting thread
cancels the coroutine, waits for its clean-up, and then raises KeyboardInterrupt.

An ``atexit`` handler stops the loop at the end of the program and cancels the calls that still
wait; a call from a later handler starts it again. While the interpreter shuts down, threads do not
run any more, so a blocking call (in a ``__del__``, in a generator) raises UsageError.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import select
import socket
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Generic, Protocol, TypeVar

from qemu_blocksdk.errors import BlockSdkError, OperationCancelled, UsageError

from .cancellation import CleanupTask

T = TypeVar("T")
P = TypeVar("P")

SIGNAL_POLL = 0.2
"""Seconds that a thread blocks at most: Python handles a signal when the thread wakes."""

END_TIMEOUT = 1.0
"""Seconds that the end of the program waits for the clean-up of cancelled work."""


class Reading(Protocol):
    """A blocking call that reads a socket in its own thread."""

    def set_aside(self) -> None:
        """Release the socket, because another call in this thread needs it."""
        ...


reading: dict[int, Reading] = {}
"""The call that reads a socket in each thread, by thread id. A call that finds its own thread here
runs in a signal handler (or a ``__del__``) and first sets the interrupted call aside."""

_background: _Background | None = None
_start_lock = threading.Lock()
_starting: set[int] = set()


class _Background:
    """The loop and its thread."""

    def __init__(self) -> None:
        # asyncio prints an error for a loop that lacks descriptors, so they are tried first.
        with select.epoll():
            for end in socket.socketpair():
                end.close()
        self.loop = asyncio.new_event_loop()
        self.start()

    def start(self) -> None:
        """Start the thread; possible again after :meth:`end`."""
        self.thread = threading.Thread(target=self.loop.run_forever, name="blocksdk", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Cancel what still runs, wait END_TIMEOUT for its clean-up, and stop the loop."""
        if self.thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self.loop)
            self.thread.join(2 * END_TIMEOUT)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()  # or asyncio prints an error for each
        if tasks:
            await asyncio.wait(tasks, timeout=END_TIMEOUT)
        self.loop.stop()


class ProcessGuard:
    """Identify the process that an object belongs to. A child of ``os.fork()`` has another one."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this process is that one."""
        return self is process_guard

    def assert_here(self, what: str) -> None:
        """Raise UsageError, which calls the object ``what``, in a child of ``os.fork()``."""
        if self is not process_guard:
            raise UsageError(
                f"{what} belongs to process {self._pid}, from before os.fork();"
                " make a new one in the child"
            )


process_guard: ProcessGuard = ProcessGuard()


def _forget_after_fork() -> None:
    # The thread exists in the parent only. A child that uses new objects gets its own.
    global _background, _start_lock, process_guard
    _background, _start_lock, process_guard = None, threading.Lock(), ProcessGuard()
    _starting.clear()
    reading.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


def _end() -> None:
    if _background is not None:
        _background.end()


# atexit calls the handler that was registered first last, so nearly all others run before it.
atexit.register(_end)
# Makes weakref register its own handler, which ends programs, after this one: it runs before _end.
weakref.finalize(ProcessGuard, _end).detach()


def _running() -> _Background:
    if _background is not None and _background.thread.is_alive():
        return _background
    return _started()


def ensure_running() -> None:
    """Start the loop again where the end of the program has stopped it during a call."""
    _running()


def _started() -> _Background:
    """Start the loop, for the first time or again."""
    global _background
    assert_running()
    thread = threading.get_ident()
    if thread in _starting:
        raise UsageError("a signal handler cannot make a blocking call while the SDK starts")
    try:
        _starting.add(thread)
        with _start_lock:
            if _background is None:
                _background = _Background()
            elif not _background.thread.is_alive():
                _background.start()
            return _background
    except (OSError, RuntimeError) as error:
        raise BlockSdkError(f"cannot start the background loop: {error}") from error
    finally:
        _starting.discard(thread)


def assert_running() -> None:
    """Raise UsageError while the interpreter shuts down, when threads do not run any more."""
    if sys.is_finalizing():
        raise UsageError(
            "the interpreter is shutting down: blocking calls are possible in atexit handlers,"
            " not in what runs after them"
        )


def assert_outside(loop_thread: int | None) -> None:
    """Raise UsageError in the thread of that id: its event loop would wait for itself."""
    if threading.get_ident() == loop_thread:
        raise UsageError("a blocking call inside the SDK's own event loop would never return")


def is_current() -> bool:
    """Return whether the calling thread runs the background loop."""
    return _background is not None and threading.get_ident() == _background.thread.ident


class _Outcome(Generic[T]):
    """Runs a coroutine on the loop and lets another thread wait for its outcome."""

    def __init__(self, work: Coroutine[object, None, T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self._done = threading.Lock()
        self._done.acquire()
        self._unit: CleanupTask[T] | None = None

    def _start(self) -> None:
        self._unit = CleanupTask(self._work, is_call=True)
        self._unit.task.add_done_callback(lambda _: self._done.release())

    async def _abandon(self) -> None:
        """Cancel the work; undo a result that it has produced, because the caller gets none."""
        if self._unit is None:
            self._work.close()
        else:
            await self._unit.give_up(is_patient=False)

    def _has_failed(self) -> bool:
        unit = self._unit
        return unit is not None and unit.task.done() and not unit.has_result

    def _wait_done(self) -> None:
        while not self._done.acquire(timeout=SIGNAL_POLL):
            ensure_running()

    def wait(self) -> T:
        try:
            self._loop.call_soon_threadsafe(self._start)
            self._wait_done()
            assert self._unit is not None
            return self._unit.task.result()
        except asyncio.CancelledError:  # the loop has ended; only daemon threads still wait then
            raise OperationCancelled("a call that still waited when the program ended") from None
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
        interrupted = reading.get(threading.get_ident())
        if interrupted is not None:
            interrupted.set_aside()
    except BaseException:
        work.close()
        raise
    return _Outcome(work, background.loop).wait()


def call(function: Callable[[], T]) -> T:
    """Run a plain function in the background loop's thread."""
    return run(_called(function))


async def _called(function: Callable[[], T]) -> T:
    return function()


def run_with_progress(
    work: Callable[[Callable[[P], None] | None], Coroutine[object, None, T]],
    on_progress: Callable[[P], object] | None,
) -> T:
    """Run ``work(report)`` on the background loop; what it reports goes to ``on_progress`` here.

    ``on_progress`` runs in the calling thread. When it is slower than the reports, it gets the
    latest; the last one is never left out. When it raises, the work is cancelled.
    """
    if on_progress is None:
        return run(work(None))
    results: list[T] = []
    for reading in iterate(_readings(work, results)):
        on_progress(reading)
    return results[0]


async def _readings(
    work: Callable[[Callable[[P], None] | None], Coroutine[object, None, T]], results: list[T]
) -> AsyncGenerator[P]:
    latest = deque[P](maxlen=1)
    changed = asyncio.Event()

    def report(reading: P) -> None:
        latest.append(reading)
        changed.set()

    task = CleanupTask(work(report), is_call=True)
    task.task.add_done_callback(lambda _: changed.set())
    try:
        while latest or not task.task.done():
            await changed.wait()
            changed.clear()
            while latest:
                yield latest.popleft()
    finally:
        if not task.task.done():
            await task.give_up(is_patient=False)
    results.append(task.task.result())


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
