"""A tool at work: what is started by a verb that takes long, and waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Generic, TypeVar

from qemu_blocksdk.errors import DeadlineExceeded, OperationCancelled
from qemu_blocksdk.qmp.cancellation import CleanupTask
from qemu_blocksdk.qmp.deadline import Deadline, within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.progress import ToolProgress

from . import unfinished

T_co = TypeVar("T_co", covariant=True)


@sealed_class
class AsyncOperation(AsyncResource, Generic[T_co]):
    """An operation of qemu-img in flight.

    Got from the verb that starts it (``image.convert(...)``). As a context manager it is
    cancelled on leaving, unless it is over. Cancelled or failed, it leaves nothing under
    a name that was to be made. One that is not over when the program ends is cancelled then,
    with a RuntimeWarning.
    """

    def __init__(
        self, name: str, work: Callable[[Callable[[float], None]], Coroutine[object, None, T_co]]
    ) -> None:
        self._name = name
        self._begin = time.monotonic()
        self._last = ToolProgress(fraction=0.0, elapsed=0.0)
        self._news = asyncio.Event()
        self._has_ended = False
        self._unit = CleanupTask(work(self._tell))
        self._task = self._unit.task
        self._task.add_done_callback(self._on_end)
        unfinished.watch(self._task, name)

    def _tell(self, fraction: float) -> None:
        self._last = ToolProgress(fraction=fraction, elapsed=time.monotonic() - self._begin)
        self._news.set()

    def _on_end(self, task: asyncio.Task[T_co]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._tell(1.0)
        self._has_ended = True
        self._news.set()

    @property
    def is_over(self) -> bool:
        """Whether the operation has ended, well or not."""
        return self._task.done()

    @property
    def last_progress(self) -> ToolProgress:
        """How far it was when the tool last told."""
        return self._last

    async def wait(self, *, timeout: float | None = None) -> T_co:
        """Wait for the end, ``timeout`` seconds at most; the operation goes on if that runs out.

        Returns what came of it. Raises ToolError with the tool's words, LaunchError,
        OperationCancelled, DeadlineExceeded.
        """
        await asyncio.wait((self._task,), timeout=timeout)
        if not self._task.done():
            raise DeadlineExceeded(f"the end of {self._name}", seconds=timeout or 0.0)
        if self._task.cancelled():
            raise OperationCancelled(self._name)
        return self._task.result()

    async def run(
        self,
        *,
        timeout: float | None = None,
        on_progress: Callable[[ToolProgress], object] | None = None,
    ) -> T_co:
        """Wait for the end; what does not end in time, or is interrupted, is cancelled.

        That takes CLEANUP_TIMEOUT more at the most (:meth:`cancel`). ``on_progress`` is called with
        each reading. Raises as :meth:`wait`, and what ``on_progress`` raises.
        """
        try:
            async with self:
                async for progress in self.progress(timeout=timeout):
                    if on_progress is not None:
                        on_progress(progress)
                return await self.wait()
        except DeadlineExceeded:
            if self._unit.has_result:  # it came to its end after all
                return await self.wait()
            raise

    async def progress(self, *, timeout: float | None = None) -> AsyncIterator[ToolProgress]:
        """Yield how far it is, at once and whenever the tool tells, until it is over.

        A reader that is slow gets the latest. Raises as :meth:`wait`; DeadlineExceeded when
        it is not over within ``timeout`` seconds.
        """
        deadline = Deadline(timeout)
        is_last = False
        while not is_last:
            # Looked at before the reader has it: what comes meanwhile is news for the next turn.
            is_last = self._has_ended
            self._news.clear()
            yield self._last
            if not is_last:
                async with within(deadline, f"the end of {self._name}"):
                    await self._news.wait()
        await self.wait()

    async def cancel(self) -> None:
        """End it and wait until what it left is removed, CLEANUP_TIMEOUT at most.

        What QEMU does not do in that time happens when it can.
        """
        unfinished.forget(self._task)
        await self._unit.cancel()

    async def _leave(self, error: BaseException | None) -> None:
        await self.cancel()

    def __repr__(self) -> str:
        return f"<{self._name}: {'over' if self.is_over else f'{self._last.fraction:.0%}'}>"
