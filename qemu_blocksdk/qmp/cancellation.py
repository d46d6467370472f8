"""Cancellation and time limits of work that has to clean up after itself.

The one mechanism is :class:`CleanupTask`. At the time limit, or when the caller is cancelled, the
task is cancelled, and the caller waits up to CLEANUP_TIMEOUT for its clean-up. A clean-up that
takes longer, because QEMU hangs, continues in the background, in its order, so that nothing is
left once QEMU answers again. A clean-up inside a CleanupTask has no limit of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, TypeVar, cast

from .deadline import Limit, deadline_of

T = TypeVar("T")

CLEANUP_TIMEOUT: Final = 5.0
"""Seconds that a call may take for its clean-up after its limit, an error or Ctrl-C."""

_log = logging.getLogger(__name__)
_left = dict["asyncio.Task[object]", "_Scope"]()
_hanging = weakref.WeakKeyDictionary[object, tuple[float, "asyncio.Task[object]"]]()


class _Scope:
    """The state of a CleanupTask that its inner tasks see; it may outlive the task."""

    def __init__(self, outer: _Scope | None, *, is_call: bool, is_ending: bool) -> None:
        self.outer = outer
        self.is_call = is_call
        self.is_ending = is_ending
        self.is_left = False
        self.is_over = False
        self.connections = weakref.WeakSet[object]()

    def chain(self) -> Iterator[_Scope]:
        """Yield this scope and the outer ones."""
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer


_current = contextvars.ContextVar[_Scope | None]("unit", default=None)


class CleanupTask(Generic[T]):
    """A task whose cancellation waits for its clean-up, CLEANUP_TIMEOUT at most.

    ``owner`` is the connection that its clean-up uses: after one clean-up has timed out on it, the
    next ones do not wait for it, until that one has ended. ``undo`` is called with a result that
    arrives although the work was given up. ``is_call``: the work of a blocking call, which takes
    over the limit of inner clean-ups only once it is cancelled. ``is_ending``: the work is a
    clean-up itself.
    """

    def __init__(
        self,
        work: Coroutine[object, None, T],
        *,
        owner: object = None,
        undo: Callable[[T], Coroutine[object, None, object]] | None = None,
        is_call: bool = False,
        is_ending: bool = False,
    ) -> None:
        self._owner = owner
        self._undo = _undo if undo is None else undo
        self._scope = _Scope(_current.get(), is_call=is_call, is_ending=is_ending)
        context = contextvars.copy_context()
        context.run(_current.set, self._scope)
        self.task: asyncio.Task[T] = asyncio.get_running_loop().create_task(work, context=context)
        self.task.add_done_callback(self._on_end)

    @property
    def has_result(self) -> bool:
        """Whether the work has ended with a result."""
        task = self.task
        return task.done() and not task.cancelled() and task.exception() is None

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for the end, ``timeout`` seconds at most; when cancelled, give the work up."""
        try:
            await asyncio.wait((self.task,), timeout=timeout)
        except asyncio.CancelledError:
            await self.give_up()
            raise

    async def shield(self) -> None:
        """Wait for the end even when the caller is cancelled; raise its cancellation afterwards."""
        try:
            await asyncio.wait((self.task,))
        except asyncio.CancelledError as error:
            self._scope.is_ending = True
            await self.clean_up(error)

    async def give_up(self, *, is_patient: bool = True) -> None:
        """Cancel the work, wait for its clean-up, and undo a result that it has nevertheless."""
        await self.cancel(is_patient=is_patient)
        if self.has_result:
            await clean_up(self._undo(self.task.result()), owner=self._owner)

    async def cancel(self, *, is_patient: bool = True) -> None:
        """Cancel the work and wait for its clean-up; the work may have a result nevertheless.

        ``is_patient``: go on waiting when the caller is cancelled meanwhile.
        """
        self._scope.is_ending = True
        self.task.cancel()
        await self.clean_up(is_patient=is_patient)

    async def clean_up(
        self, cancellation: asyncio.CancelledError | None = None, *, is_patient: bool = True
    ) -> None:
        """Wait for the end of a task that is ending, at most until its clean-up deadline."""
        now = asyncio.get_running_loop().time
        until = self._deadline(now())
        while not self.task.done():
            left = None if until is None else max(0.0, until - now())
            try:
                await asyncio.wait((self.task,), timeout=left)
            except asyncio.CancelledError as error:
                cancellation = error
                if any(scope.is_left for scope in self._scope.chain()):
                    self.task.cancel()  # the event loop ends
                if not is_patient:
                    break
            if until is not None and now() >= until:
                break
        if not self.task.done():
            _log.info("a clean-up goes on in the background: %r", self.task)
            self._scope.is_left = True
            _left[self.task] = self._scope
        if cancellation is not None:
            raise cancellation

    def _deadline(self, now: float) -> float | None:
        """Return when the caller stops waiting; None where an outer CleanupTask decides that."""
        around = self._scope.outer.chain() if self._scope.outer is not None else ()
        if any(not scope.is_over and (scope.is_ending or not scope.is_call) for scope in around):
            return None
        until = now + CLEANUP_TIMEOUT
        if self._owner is None:
            return until
        return min(until, _hanging.setdefault(self._owner, (until, self.task))[0])

    def _on_end(self, task: asyncio.Task[T]) -> None:
        self._scope.is_over = True
        if self._owner is not None and _hanging.get(self._owner, (0.0, None))[1] is task:
            del _hanging[self._owner]
        if self._scope.is_ending and not task.cancelled():
            task.exception()  # marked as retrieved; the cancellation may be raised instead
        if _left.pop(task, None) is not None and self.has_result:
            late = asyncio.ensure_future(self._undo(task.result()))
            _left[late] = self._scope
            late.add_done_callback(_left.pop)


def is_cleaning_up(connection: object) -> bool:
    """Return whether the current task, which uses the connection, is part of a clean-up.

    Its commands have no limit of their own then.
    """
    scope = _current.get()
    ending = [each for each in scope.chain() if each.is_ending] if scope is not None else []
    for each in ending:
        each.connections.add(connection)
    return bool(ending)


async def wait_for_cleanups(connection: object) -> None:
    """Wait for background clean-ups that use a connection which has ended."""
    tasks = [task for task, scope in _left.items() if connection in scope.connections]
    if tasks:
        await asyncio.wait(tasks, timeout=CLEANUP_TIMEOUT)


async def run_with_cleanup(
    work: Coroutine[object, None, T],
    *,
    timeout: Limit = None,
    waited_for: str = "",
    owner: object = None,
    undo: Callable[[T], Coroutine[object, None, object]] | None = None,
) -> T:
    """Run work in a CleanupTask, until ``timeout`` at most; return its result.

    ``undo`` is called with a result that arrives after the caller was cancelled; by default, a
    context manager is left. Raises DeadlineExceeded, CLEANUP_TIMEOUT after the limit at the
    latest, and whatever the work raises.
    """
    deadline = deadline_of(timeout)
    unit = CleanupTask(work, owner=owner, undo=undo)
    await unit.wait(deadline.timeout())
    if not unit.task.done():
        await unit.cancel()
        if not unit.task.done() or unit.task.cancelled():
            raise deadline.exceeded(waited_for)
    return unit.task.result()


async def shielded(work: Coroutine[object, None, T]) -> T:
    """Run work to its end even when the caller is cancelled; return its result.

    A cancellation of the caller is raised after the work has ended, CLEANUP_TIMEOUT later at the
    latest. Raises whatever the work raises.
    """
    unit = CleanupTask(work)
    await unit.shield()
    return unit.task.result()


async def clean_up(work: Coroutine[object, None, object], *, owner: object = None) -> bool:
    """Run a clean-up to its end; wait CLEANUP_TIMEOUT at most, then let it run on.

    Returns whether it has ended. Raises whatever it raises.
    """
    unit = CleanupTask(work, owner=owner, is_ending=True)
    await unit.clean_up()
    if unit.task.done():
        unit.task.result()
    return unit.task.done()


async def _undo(result: object) -> None:
    """End the result of work that was given up."""
    if isinstance(result, AbstractAsyncContextManager):
        with contextlib.suppress(Exception):
            await result.__aexit__(None, None, None)
    elif isinstance(result, list):
        await asyncio.gather(*map(_undo, cast("list[object]", result)))


async def gather(work: Iterable[Coroutine[object, None, T]]) -> list[T]:
    """Run all concurrently, return their results; at the first error, cancel the others."""
    failure: Exception | None = None
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        failure = errors.exceptions[0]
    if failure is not None:
        raise failure  # outside of the handler, so that the group is not its context
    return [task.result() for task in tasks]
