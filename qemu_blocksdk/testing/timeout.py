"""Time limits of blocks, and polling for conditions that no event announces.

The mechanism: a timer thread sends a signal to the main thread until the signal's handler has
raised an exception in the block. A signal ends any system call. Blocks in coroutines are
ended by asyncio; blocks in other threads are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import dis
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Self, TypeVar

from qemu_blocksdk.errors import DeadlineExceeded, UsageError
from qemu_blocksdk.qmp.deadline import within

T = TypeVar("T")

_PACE = 0.005
# Its default action is to do nothing, so one that arrives late does no harm.
_SIGNAL = signal.SIGURG


class Timeout:
    """Ends its block with DeadlineExceeded when that takes longer than ``seconds``::

        with Timeout(3, "the job to pause"):
            while not is_paused():
                ...

    The block is interrupted like by Ctrl-C, in whatever it waits for; no ``except Exception`` in
    it keeps it going. Time limits nest: the one that expires first ends its own block.

    It works in the main thread, where Python handles signals. In a coroutine, write ``async
    with``, which ends what is awaited. In other threads, use the ``timeout`` arguments of the
    calls.
    """

    def __init__(self, seconds: float, what: str) -> None:
        """Set the limit, in seconds, and what the block waits for.

        Raises UsageError for a negative, infinite or too large limit.
        """
        self.seconds: float = _checked(seconds)
        self.what: str = what
        self._timer: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start the time.

        Raises UsageError in a coroutine, outside the main thread, and while the object's block
        is running.
        """
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            raise UsageError(f"the time limit of {self.what} is in a coroutine: say 'async with'")
        if threading.current_thread() is not threading.main_thread():
            raise UsageError(
                f"the time limit of {self.what} is not in the main thread: no block can be"
                " interrupted there; use the `timeout` arguments of the calls, or a coroutine"
            )
        if self._timer is not None:
            raise UsageError(f"the time limit of {self.what} runs already")
        self._over = threading.Event()
        self._is_due = self._is_raised = False
        self._handler = signal.signal(_SIGNAL, _interrupt)
        self._timer = threading.Thread(target=self._watch, daemon=True)
        try:
            _active.append(self)
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
            # Ctrl-C may interrupt it.
            self._leave()
        if self._is_due and (error is None or getattr(error, "timeout", None) is self):
            raise DeadlineExceeded(self.what, seconds=self.seconds) from error

    async def __aenter__(self) -> Self:
        """Start the time."""
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
        """End the timer. May be called again after an interruption."""
        assert self._timer is not None
        self._over.set()
        if self._timer.ident is not None:
            self._timer.join()
        # signal.signal() first runs the handler for a signal that has arrived.
        signal.signal(_SIGNAL, self._handler)
        if self in _active:
            _active.remove(self)
        self._timer = None

    def _watch(self) -> None:
        """Signal the main thread from the end of the time until the handler has raised."""
        main = threading.main_thread().ident
        assert main is not None
        if self._over.wait(self.seconds):
            return
        self._is_due = True
        while not self._is_raised:
            signal.pthread_kill(main, _SIGNAL)
            if self._over.wait(_PACE):
                return

    def _expired(self) -> _Expired:
        self._is_raised = True
        return _Expired(self)

    def __repr__(self) -> str:
        return f"<limit of {self.seconds:g} s for {self.what}>"


class _Expired(BaseException):
    """What the handler raises; no ``except Exception`` catches it."""

    def __init__(self, timeout: Timeout) -> None:
        super().__init__(f"the time for {timeout.what} is over")
        self.timeout = timeout


_active: list[Timeout] = []
"""The time limits whose blocks run, the outermost first."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise in the main thread, unless a block is just beginning or ending, or this is running."""
    due = next((limit for limit in _active if limit._is_due and not limit._is_raised), None)
    if due is None or frame is None or _is_at_an_edge(frame):
        return  # the timer tries again
    target = _bare_jump(frame.f_code, frame.f_lasti)
    if target is None:
        raise due._expired()
    _interrupt_at(frame.f_code, target, due)


_EDGES = (Timeout.__enter__.__code__, Timeout.__exit__.__code__, _interrupt.__code__)


def _is_at_an_edge(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _EDGES:
            return True
        frame = frame.f_back
    return False


# Python 3.13: the exception table leaves out the jump back of `while condition`, so an exception
# that is raised there passes by the `with` and `try` around the loop. It is raised at the jump's
# target instead. Ctrl-C has the same fault; nothing here can mend that.


def _bare_jump(code: CodeType, offset: int) -> int | None:
    """Return the target of the instruction if that is a jump back which lacks its handlers."""
    if not code.co_exceptiontable or "JUMP_BACKWARD" not in dis.opname[code.co_code[offset]]:
        return None
    jump = next(each for each in dis.get_instructions(code) if each.offset == offset)
    target = int(jump.argval)
    return target if _handlers(code, target) - _handlers(code, offset) else None


def _handlers(code: CodeType, offset: int) -> set[int]:
    """Return where an exception that is raised at an instruction may be handled."""
    # The format: Objects/exception_handling_notes.txt of CPython, in units of two bytes.
    numbers, is_continued = list[int](), False
    for byte in code.co_exceptiontable:
        if not is_continued:
            numbers.append(0)
        numbers[-1] = numbers[-1] << 6 | byte & 0x3F
        is_continued = bool(byte & 0x40)
    entries = zip(numbers[::4], numbers[1::4], numbers[2::4], strict=True)
    return {to for start, length, to in entries if start <= offset // 2 < start + length}


def _interrupt_at(code: CodeType, target: int, limit: Timeout) -> None:
    """Raise at the next instruction if that is the target; else the timer tries again."""
    if sys.version_info >= (3, 12):  # Python 3.11 has no such jump
        monitoring = sys.monitoring
        tool = next((free for free in range(6) if monitoring.get_tool(free) is None), None)
        if tool is None:
            return

        def at_instruction(code: CodeType, offset: int) -> None:
            if threading.current_thread() is threading.main_thread():
                monitoring.set_local_events(tool, code, 0)
                monitoring.free_tool_id(tool)
                if offset == target and limit in _active and not limit._is_raised:
                    raise limit._expired()

        monitoring.use_tool_id(tool, "qemu-blocksdk")
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, at_instruction)
        monitoring.set_local_events(tool, code, monitoring.events.INSTRUCTION)


def wait_for(condition: Callable[[], T], *, what: str, timeout: float) -> T:
    """Call the condition until it returns something true, and return that.

    For what no event announces. Raises DeadlineExceeded when that takes longer than ``timeout``
    seconds, UsageError for a negative, infinite or too large limit.
    """
    end = time.monotonic() + _checked(timeout)
    while not (found := condition()):
        if time.monotonic() >= end:
            raise DeadlineExceeded(what, seconds=timeout)
        time.sleep(_PACE)
    return found


def _checked(seconds: float) -> float:
    if not 0 <= seconds <= threading.TIMEOUT_MAX:  # NaN is neither
        raise UsageError(f"{seconds!r} seconds are no time limit")
    return seconds
