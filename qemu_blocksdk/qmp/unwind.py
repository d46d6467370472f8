"""Work that ends in time, and its clean-up: a limit is a budget.

The one mechanism is a :class:`Unit`, a task that unwinds as a whole. When its limit is reached or
its caller is cancelled, the task is cancelled, and the caller waits CLEANUP_TIMEOUT for the
clean-up. What takes longer (QEMU hangs) goes on in the background, step by step in its order, so
that nothing is left once QEMU answers again. A clean-up inside of a unit has no limit of its own.
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

from qemu_blocksdk.errors import DeadlineExceeded

T = TypeVar("T")

CLEANUP_TIMEOUT: Final = 5.0
"""Seconds that a call may take for its clean-up after its limit, an error or Ctrl-C."""

_log = logging.getLogger(__name__)
_left = dict["asyncio.Task[object]", "_Scope"]()
_hanging = weakref.WeakKeyDictionary[object, tuple[float, "asyncio.Task[object]"]]()


class _Scope:
    """What the tasks inside of a unit see of it; it outlives the unit, so it holds nothing."""

    def __init__(self, outer: _Scope | None, *, is_call: bool, is_ending: bool) -> None:
        self.outer = outer
        self.is_call = is_call
        self.is_ending = is_ending
        self.is_left = False
        self.is_over = False
        self.connections = weakref.WeakSet[object]()

    def chain(self) -> Iterator[_Scope]:
        """Yield this and all around it."""
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer


_current = contextvars.ContextVar[_Scope | None]("unit", default=None)


class Unit(Generic[T]):
    """A task that unwinds as a whole. ``owner`` is what its clean-up waits for: a connection.

    An owner that did not answer a clean-up in time is not waited for by the next, until it has.
    A blocking call (``is_call``) limits what is inside only once it is given up.
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
        """Whether the work came to a result."""
        task = self.task
        return task.done() and not task.cancelled() and task.exception() is None

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for the end, ``timeout`` seconds at most; cancelled, give it up."""
        try:
            await asyncio.wait((self.task,), timeout=timeout)
        except asyncio.CancelledError:
            await self.give_up()
            raise

    async def shield(self) -> None:
        """Wait for the end however often the caller is cancelled; a cancellation comes after it."""
        try:
            await asyncio.wait((self.task,))
        except asyncio.CancelledError as error:
            self._scope.is_ending = True
            await self.clean_up(error)

    async def give_up(self, *, is_patient: bool = True) -> None:
        """Cancel the work and wait for its clean-up; undo a result that it has all the same."""
        await self.cancel(is_patient=is_patient)
        if self.has_result:
            await clean_up(self._undo(self.task.result()), owner=self._owner)

    async def cancel(self, *, is_patient: bool = True) -> None:
        """Cancel the work and wait for its clean-up; it may come to a result all the same.

        Cancelled meanwhile, one that ``is_patient`` waits on.
        """
        self._scope.is_ending = True
        self.task.cancel()
        await self.clean_up(is_patient=is_patient)

    async def clean_up(
        self, cancellation: asyncio.CancelledError | None = None, *, is_patient: bool = True
    ) -> None:
        """Wait for the end of a unit that is ending, within the limit that it has for that."""
        now = asyncio.get_running_loop().time
        until = self._deadline(now())
        while not self.task.done():
            left = None if until is None else max(0.0, until - now())
            try:
                await asyncio.wait((self.task,), timeout=left)
            except asyncio.CancelledError as error:
                cancellation = error
                if any(scope.is_left for scope in self._scope.chain()):
                    self.task.cancel()  # nobody waits any more, and the event loop ends
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
        """Return when its caller stops to wait; None where that is for a unit around it to say."""
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
            task.exception()  # retrieved: the cancellation may come instead
        if _left.pop(task, None) is not None and self.has_result:
            late = asyncio.ensure_future(self._undo(task.result()))
            _left[late] = self._scope
            late.add_done_callback(_left.pop)


def is_cleaning_up(connection: object) -> bool:
    """Whether this task, which uses the connection, is part of a clean-up.

    Its commands have no limit of their own then.
    """
    scope = _current.get()
    ending = [each for each in scope.chain() if each.is_ending] if scope is not None else []
    for each in ending:
        each.connections.add(connection)
    return bool(ending)


async def settle(connection: object) -> None:
    """Wait for the clean-ups in the background that a connection which has ended lets end."""
    tasks = [task for task, scope in _left.items() if connection in scope.connections]
    if tasks:
        await asyncio.wait(tasks, timeout=CLEANUP_TIMEOUT)


async def as_unit(
    work: Coroutine[object, None, T],
    *,
    timeout: float | None = None,
    limit: float | None = None,
    waited_for: str = "",
    owner: object = None,
    undo: Callable[[T], Coroutine[object, None, object]] | None = None,
) -> T:
    """Run work that unwinds as a whole, ``timeout`` seconds at most; return its result.

    ``undo`` is for a result that comes when the caller has been cancelled; by default, a context
    manager is left. ``limit`` is what an error says, where ``timeout`` is what is left of it.
    Raises DeadlineExceeded at the latest CLEANUP_TIMEOUT after that, and as the work does.
    """
    unit = Unit(work, owner=owner, undo=undo)
    await unit.wait(timeout)
    if not unit.task.done():
        await unit.cancel()
        if not unit.task.done() or unit.task.cancelled():
            raise DeadlineExceeded(waited_for, seconds=limit or timeout or 0.0)
    return unit.task.result()


async def shielded(work: Coroutine[object, None, T]) -> T:
    """Run work to its end, however often the caller is cancelled meanwhile.

    Returns what it returns and raises what it raises; a cancellation comes after it and
    instead of that, CLEANUP_TIMEOUT later at the latest.
    """
    unit = Unit(work)
    await unit.shield()
    return unit.task.result()


async def clean_up(work: Coroutine[object, None, object], *, owner: object = None) -> bool:
    """Run a clean-up, which is not cut short; wait CLEANUP_TIMEOUT at most for its end.

    Returns whether it has ended. Raises what it raises.
    """
    unit = Unit(work, owner=owner, is_ending=True)
    await unit.clean_up()
    if unit.task.done():
        unit.task.result()
    return unit.task.done()


async def _undo(result: object) -> None:
    """End what came of work that was given up: nobody holds it."""
    if isinstance(result, AbstractAsyncContextManager):
        with contextlib.suppress(Exception):
            await result.__aexit__(None, None, None)
    elif isinstance(result, list):
        await asyncio.gather(*map(_undo, cast("list[object]", result)))


async def together(work: Iterable[Coroutine[object, None, T]]) -> list[T]:
    """Do all at once; where one fails, the others are cancelled, and its error is raised."""
    failure: Exception | None = None
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        failure = errors.exceptions[0]
    if failure is not None:
        raise failure  # here, so that the group is not the context of its own member
    return [task.result() for task in tasks]
