# Generated from objects/operation.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.operation.AsyncOperation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.objects.operation import AsyncOperation
    from qemu_blocksdk.tools.progress import ToolProgress

T_co = TypeVar("T_co", covariant=True)


class Operation(SyncProxy, Generic[T_co]):
    """An operation of qemu-img in flight.

    Got from the verb that starts it (``image.convert(...)``). As a context manager it is
    cancelled on leaving, unless it is over. Cancelled or failed, it leaves nothing under
    a name that was to be made. One that is not over when the program ends is cancelled then,
    with a RuntimeWarning.
    """

    @property
    def _async(self) -> AsyncOperation[T_co]:
        return cast("AsyncOperation[T_co]", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    @property
    def is_over(self) -> bool:
        """Whether the operation has ended, well or not."""
        return self._async.is_over

    @property
    def last_progress(self) -> ToolProgress:
        """How far it was when the tool last told."""
        return self._async.last_progress

    def wait(self, *, timeout: float | None = None) -> T_co:
        """Wait for the end, ``timeout`` seconds at most; the operation goes on if that runs out.

        Returns what came of it. Raises ToolError with the tool's words, LaunchError,
        OperationCancelled, DeadlineExceeded.
        """
        return background_loop.run(self._async.wait(timeout=timeout))

    def run(
        self,
        *,
        timeout: float | None = None,
        on_progress: Callable[[ToolProgress], object] | None = None,
    ) -> T_co:
        """Wait for the end; what does not end in time, or is interrupted, is cancelled.

        That takes CLEANUP_TIMEOUT more at the most (:meth:`cancel`). ``on_progress`` is called with
        each reading. Raises as :meth:`wait`, and what ``on_progress`` raises.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.run(
                timeout=timeout,
                on_progress=report,
            ),
            on_progress,
        )

    def progress(self, *, timeout: float | None = None) -> Iterator[ToolProgress]:
        """Yield how far it is, at once and whenever the tool tells, until it is over.

        A reader that is slow gets the latest. Raises as :meth:`wait`; DeadlineExceeded when
        it is not over within ``timeout`` seconds.
        """
        yield from background_loop.iterate(self._async.progress(timeout=timeout))

    def cancel(self) -> None:
        """End it and wait until what it left is removed, CLEANUP_TIMEOUT at most.

        What QEMU does not do in that time happens when it can.
        """
        return background_loop.run(self._async.cancel())
