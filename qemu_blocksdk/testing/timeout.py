"""Time limits of blocks, and waiting for what no event tells.

A timer thread raises an exception in the block's thread. That shows when the thread next runs
Python code; the main thread is woken by a signal for that, so any call of the system ends.
Blocks of coroutines are asyncio's to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import ClassVar, Self, TypeVar

from qemu_blocksdk.errors import DeadlineExceeded, UsageError
from qemu_blocksdk.qmp.deadline import within

T = TypeVar("T")

_PACE = 0.005
# What it does where nobody handles it is nothing: one that comes late does no harm.
_SIGNAL = signal.SIGURG


class Timeout:
    """Ends its block with DeadlineExceeded when that takes longer than ``seconds``::

        with Timeout(3, "the job to pause"):
            while not is_paused():
                ...

    In any thread, and nested: the one whose time runs out first ends its own block. What the
    block does is given up as by Ctrl-C; no ``except Exception`` in it keeps it going.

    In the main thread that holds for whatever the block waits for. In others, a blocking
    call of the SDK ends within a second, and what waits elsewhere outside of Python
    (``time.sleep``, ``Event.wait``, ``Popen.wait`` without a timeout) when it returns.

    In a coroutine it is ``async with``, and ends what is awaited.
    """

    def __init__(self, seconds: float, what: str) -> None:
        """Say how long the block may take, and what for. Raises UsageError for no such time."""
        self.seconds: float = _checked(seconds)
        self.what: str = what
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        """Begin. Raises UsageError while it has a block already, and in a coroutine."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            raise UsageError(f"the time limit of {self.what} is in a coroutine: say 'async with'")
        if self._timer is not None:
            raise UsageError(f"the time limit of {self.what} runs already")
        self._thread = threading.get_ident()
        self._is_over = self._has_expired = self._is_raised = False
        self._expired = type("_Expired", (_Expired,), {"timeout": self})
        self._outer = _here.innermost
        self._timer = threading.Timer(self.seconds, self._expire)
        self._timer.daemon = True
        self._is_main = threading.current_thread() is threading.main_thread()
        try:
            self._handler = signal.signal(_SIGNAL, _wake) if self._is_main else None
            _here.innermost = self
            self._timer.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._timer is not None:
            try:
                self._leave()
            except _Expired as late:  # this one's is known; another's is raised again below
                late.timeout._is_raised = False
        if self._has_expired:
            # A thread has room for one such exception: with this one's, that of an outer block
            # may have gone.
            _take_away()
            if outer := next((one for one in self._around() if one._is_due()), None):
                _raise_in(self._thread, outer._expired)
            if error is None or isinstance(error, self._expired):
                raise DeadlineExceeded(self.what, seconds=self.seconds) from error

    async def __aenter__(self) -> Self:
        """Begin."""
        self._in_coroutine = within(self.seconds, self.what)
        await self._in_coroutine.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._in_coroutine.__aexit__(kind, error, trace)

    def _leave(self) -> None:
        """End the timer. May be repeated, where it was interrupted."""
        self._is_over = True
        assert self._timer is not None
        self._timer.cancel()
        if self._timer.ident is not None:
            self._timer.join()
        if self._is_main:
            signal.signal(_SIGNAL, self._handler)
        _here.innermost = self._outer
        self._timer = None

    def _expire(self) -> None:
        """Raise in the block's thread, from the timer's, but not while a block begins or ends."""
        while not self._is_over:
            frame = sys._current_frames().get(self._thread)
            if not _is_at_an_edge(frame):
                self._has_expired = True
                _raise_in(self._thread, self._expired)
                if self._is_main:
                    signal.pthread_kill(self._thread, _SIGNAL)
                return
            time.sleep(_PACE)

    def _is_due(self) -> bool:
        return self._has_expired and not self._is_raised

    def _around(self) -> Iterator[Timeout]:
        """Yield the time limits around this one, from the outermost."""
        if self._outer is not None:
            yield from self._outer._around()
            yield self._outer


class _Here(threading.local):
    innermost: Timeout | None = None


class _Expired(BaseException):
    """What a timer raises, in a class for each ``timeout``; no ``except Exception`` takes it."""

    timeout: ClassVar[Timeout]

    def __init__(self) -> None:
        super().__init__(f"the time for {self.timeout.what} is over")
        self.timeout._is_raised = True


_here = _Here()
_EDGES = (Timeout.__enter__.__code__, Timeout.__exit__.__code__)


def wait_for(condition: Callable[[], T], *, what: str, timeout: float) -> T:
    """Call the condition until it is true, and return what it returned.

    For what no event tells of. Raises DeadlineExceeded when that takes longer than ``timeout``
    seconds, UsageError for no such time.
    """
    end = time.monotonic() + _checked(timeout)
    while not (found := condition()):
        if time.monotonic() >= end:
            raise DeadlineExceeded(what, seconds=timeout)
        time.sleep(_PACE)  # the pace of the looking
    return found


def _checked(seconds: float) -> float:
    if not 0 <= seconds <= threading.TIMEOUT_MAX:  # NaN is neither
        raise UsageError(f"{seconds!r} seconds are no time limit")
    return seconds


def _raise_in(thread: int, kind: type[BaseException]) -> None:
    # Python 3.13: no exception table covers the jump back of a loop, so what is raised just there,
    # Ctrl-C as well, passes by the `with` and `try` around the loop. Nothing here can mend that.
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_exception(ctypes.c_ulong(thread), ctypes.py_object(kind))


class _Nothing(BaseException):
    """What is raised in place of an exception that is to be taken away."""


def _take_away() -> None:
    """Have no such exception pending in this thread."""
    # To set none at all is no way: Python 3.11 then goes on looking for it, and hangs where it
    # is being traced.
    try:
        _raise_in(threading.get_ident(), _Nothing)
        while True:
            pass
    except _Nothing:
        pass
    except _Expired as late:  # that of an outer block, which came meanwhile
        late.timeout._is_raised = False


def _is_at_an_edge(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _EDGES:
            return True
        frame = frame.f_back
    return False


def _wake(number: int, frame: FrameType | None) -> None:
    """End a call of the system: Python code runs, thus the exception shows."""
