"""A migration in flight, of either side: one task reads its events, and whoever waits is woken."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Self

from qemu_blocksdk.errors import (
    BlockSdkError,
    MigrationCancelled,
    MigrationFailed,
    StateError,
    UsageError,
)
from qemu_blocksdk.jobs import MigrationProgress
from qemu_blocksdk.qmp import AsyncQmp, clean_up, run_with_cleanup, shielded
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import (
    MigrateCancel,
    MigrateContinue,
    MigrateStartPostcopy,
    MigrationEvent,
    MigrationInfo,
    MigrationStatus,
    QueryMigrate,
)

from ._base import Live, follow, subject

_OVER: frozenset[MigrationStatus] = frozenset({"completed", "failed", "cancelled"})


@sealed_class
class AsyncMigration(Live, AsyncResource):
    """The migration of a VM's guest to another QEMU, or from another.

    Got from ``vm.migrate()``, ``vm.migrate_incoming()`` or ``vm.attach_migration()``. As a
    context manager it is cancelled on leaving, unless it is over; what is cancelled or
    failed, the source goes on. A destination only ceases to watch.
    """

    def __init__(self, qmp: AsyncQmp, *, is_incoming: bool) -> None:
        self._qmp = qmp
        self._is_incoming = is_incoming
        self._status: MigrationStatus = "none"
        self._seen = set[MigrationStatus]()
        self._failure: BlockSdkError | None = None
        self._began = time.monotonic()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._events = qmp.events(MigrationEvent)

    async def _begin(self, starting: Coroutine[object, None, None]) -> Self:
        """Run to its end what starts it; when that is interrupted, cancel it."""

        async def begin() -> Self:
            try:
                await shielded(self._start(starting))
            except BaseException as error:
                if self._task is None:
                    self._events.close()
                else:
                    await self._leave(error)
                raise
            return self

        return await run_with_cleanup(begin(), owner=self._qmp)

    async def _start(self, starting: Coroutine[object, None, None]) -> None:
        await starting
        self._task = follow(self, self._follow(), self._on_follower_end)

    async def _catch_up(self) -> None:
        """Take in what has happened before anybody listened."""
        await self._take_in((await self.query_info()).status or "none")

    # -- the task that watches ------------------------------------------------------------

    async def _follow(self) -> None:
        async with self._events:
            while not self.is_over:
                await self._take_in((await self._events.get()).status)

    def _on_follower_end(self, error: BlockSdkError) -> None:
        if not self.is_over:
            self._failure = error
        self._wake()

    async def _take_in(self, status: MigrationStatus) -> None:
        if status == "failed":
            # An event says that it failed, only the query why.
            self._failure = MigrationFailed(error=(await self.query_info()).error_desc or "")
        elif status == "cancelled":
            self._failure = MigrationCancelled()
        self._status = status
        self._seen.add(status)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # -- what is known, and waiting for it -------------------------------------------------

    @property
    def is_incoming(self) -> bool:
        """Whether the guest comes from another QEMU, not goes to one."""
        return self._is_incoming

    @property
    def status(self) -> MigrationStatus:
        """The status that the last event told; ``none`` before the first."""
        return self._status

    @property
    def is_over(self) -> bool:
        """Whether the migration has ended, well or not, or QEMU has."""
        return self._failure is not None or self._status in _OVER

    async def query_info(self) -> MigrationInfo:
        """Ask how far it is, and how long it took: milliseconds, bytes (``query-migrate``)."""
        return await self._execute(QueryMigrate())

    async def wait(
        self, *, until: MigrationStatus | None = None, timeout: float | None = None
    ) -> None:
        """Wait until the migration is completed, or ``until`` it has been in a status.

        ``timeout`` is in seconds; the migration goes on when it runs out. The run state may
        change a moment later (:meth:`AsyncVM.wait_run_state`). Raises MigrationFailed with
        QEMU's words, MigrationCancelled, StateError when the status was never come to,
        DeadlineExceeded, ConnectionLost (which is how a destination fails, as a rule).
        """
        what = "the end" if until is None else f"status {until!r}"
        async with within(timeout, f"{what} of {subject(self)}"):
            while not self._has_come(until):
                await self._news.wait()

    def _has_come(self, until: MigrationStatus | None) -> bool:
        if until is not None and until in self._seen:
            return True
        if self._failure is not None:
            raise copy.copy(self._failure)
        if until is not None and self.is_over:
            raise StateError(subject(self), verb=f"becoming {until}")
        return self.is_over

    async def run(self, *, timeout: float | None = None) -> MigrationInfo:
        """Wait for the end; what does not end in time, or is interrupted, is cancelled.

        That takes CLEANUP_TIMEOUT more at the most. Returns as :meth:`query_info`, raises as
        :meth:`wait`.
        """
        what = f"the end of {subject(self)}"
        return await run_with_cleanup(
            self._to_its_end(), timeout=timeout, waited_for=what, owner=self._qmp
        )

    async def _to_its_end(self) -> MigrationInfo:
        async with self:
            await self.wait()
            return await self.query_info()

    async def progress(self, *, interval: float = 0.1) -> AsyncIterator[MigrationProgress]:
        """Yield the progress at once, every ``interval`` seconds, and when it is over.

        QEMU has no event for progress, so this asks. Raises as :meth:`wait`.
        """
        while not self.is_over:
            yield await self._reading()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    while not self.is_over:
                        await self._news.wait()
        await self.wait()
        yield await self._reading()

    async def _reading(self) -> MigrationProgress:
        info = await self.query_info()
        ram = info.ram
        return MigrationProgress(
            status=info.status or "none",
            transferred=ram.transferred if ram else 0,
            remaining=ram.remaining if ram else 0,
            total=ram.total if ram else 0,
            dirty_sync_count=ram.dirty_sync_count if ram else 0,
            elapsed=time.monotonic() - self._began,
        )

    # -- verbs ----------------------------------------------------------------------------

    async def continue_(self) -> None:
        """Let the guest switch over (``migrate-continue``).

        For a migration that is in ``pre-switchover``, as the capability
        ``pause-before-switchover`` has it. Raises CommandError for another.
        """
        await self._execute(MigrateContinue(state="pre-switchover"))

    async def start_postcopy(self) -> None:
        """Let the guest run at the destination already (``migrate-start-postcopy``).

        Memory follows as it is used; neither side is the guest by itself until the end. Both
        sides need the capability ``postcopy-ram``. Raises CommandError without.
        """
        await self._execute(MigrateStartPostcopy())

    async def cancel(self, *, timeout: float | None = None) -> None:
        """Cancel the migration (``migrate_cancel``) and wait for its end, however it ends.

        One that is over stays as it ended. Raises UsageError at a destination, StateError
        when postcopy has begun, which would kill the guest; DeadlineExceeded, ConnectionLost.
        """
        if self.is_over:
            return
        if self._is_incoming:
            raise UsageError("an incoming migration can be cancelled at its source only")
        # QEMU 7.2: cancels one whose guest is on the other side already, so we refuse that.
        if self._is_postcopy:
            raise StateError(subject(self), verb="cancel")
        async with within(timeout, f"the end of {subject(self)}"):
            await self._execute(MigrateCancel())
            with contextlib.suppress(MigrationFailed, MigrationCancelled):
                await self.wait()

    @property
    def _is_postcopy(self) -> bool:
        return self._status.startswith("postcopy")

    async def _leave(self, error: BaseException | None) -> None:
        await clean_up(self._end(), owner=self._qmp)

    async def _end(self) -> None:
        with contextlib.suppress(BlockSdkError):
            if self._is_postcopy and not self._is_incoming:
                await self.wait()
            elif not self._is_incoming:
                await self.cancel()
        await self._forget()

    async def _forget(self) -> None:
        """Cease to watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def __repr__(self) -> str:
        kind = "incoming migration" if self._is_incoming else "migration"
        return f"<{kind}: {self._status}>"
