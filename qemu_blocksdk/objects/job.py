"""A job in flight: subscribed to before it starts, watched until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator
from typing import Self

from qemu_blocksdk.codec import Command
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
)
from qemu_blocksdk.jobs import JobProgress
from qemu_blocksdk.qmp import AsyncEventStream, AsyncQmp, finish
from qemu_blocksdk.qmp.resource import Resource
from qemu_blocksdk.wire import JobCancel, JobDismiss, JobInfo, JobStatus, JobStatusChange, QueryJobs

_ids = itertools.count()
_PATIENCE = 10.0
_CANCELLED = "Operation canceled"  # strerror(ECANCELED) of QEMU, which sets no locale


def new_job_id(kind: str) -> str:
    """Return a job id that no other job started by this process has."""
    return f"{kind}-{os.getpid():x}-{next(_ids)}"


class AsyncJob(Resource):
    """A background operation of QEMU, from its start to its dismissal.

    Got from the verb that starts it (``node.backup(...)``). It is dismissed here when it
    has concluded. As a context manager it is cancelled on leaving, unless it is over.
    """

    def __init__(self, qmp: AsyncQmp, job_id: str, kind: str) -> None:
        self._qmp = qmp
        self._id = job_id
        self._kind = kind
        self._status: JobStatus = "undefined"
        self._started = time.monotonic()
        self._last: JobInfo | None = None
        self._end: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, qmp: AsyncQmp, command: Command[None], *, job_id: str, kind: str) -> Self:
        """Send a command that starts a job with ``auto-dismiss`` off; return it in flight.

        Raises as :meth:`AsyncQmp.execute`; no job is left behind then.
        """
        self = cls(qmp, job_id, kind)
        events = qmp.events(JobStatusChange, id=job_id)
        try:
            await qmp.execute(command)
        except (asyncio.CancelledError, DeadlineExceeded):
            # Given up while it was on its way: the job may exist.
            self._watch(events)
            await self._unwind()
            raise
        except BaseException:
            events.close()
            raise
        self._watch(events)
        return self

    def _watch(self, events: AsyncEventStream[JobStatusChange]) -> None:
        self._end = asyncio.create_task(self._follow(events))
        self._end.add_done_callback(lambda end: end.cancelled() or end.exception())

    async def _follow(self, events: AsyncEventStream[JobStatusChange]) -> None:
        """Read the job's events until it has concluded; dismiss it, and raise if it failed."""
        failed = False
        async with events:
            async for event in events:
                self._status = event.status
                failed = failed or event.status == "aborting"
                if event.status in ("concluded", "null"):
                    break
        error = "it was dismissed by another client" if failed else None
        # The event says that it is over, only the query says how it ended.
        info = await self._query()
        if info is not None:
            error = info.error
            with contextlib.suppress(CommandError):  # dismissed by another client
                await self._qmp.execute(JobDismiss(id=self._id))
        self._status = "null"
        if error is not None:
            if error == _CANCELLED:
                raise JobCancelled(self._id, job_type=self._kind)
            raise JobFailed(self._id, error=error, job_type=self._kind)

    async def _query(self) -> JobInfo | None:
        jobs = await self._qmp.execute(QueryJobs())
        info = next((job for job in jobs if job.id == self._id), None)
        self._last = info or self._last
        return info

    @property
    def id(self) -> str:
        """The job's id in QEMU."""
        return self._id

    @property
    def status(self) -> JobStatus:
        """The status that the last event told; ``null`` when the job is gone."""
        return self._status

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, well or not."""
        return self._end is not None and self._end.done()

    async def wait(self, *, timeout: float | None = None) -> None:
        """Wait for the end, ``timeout`` seconds at most; the job goes on if that runs out.

        Raises JobFailed with QEMU's words, JobCancelled, ConnectionLost, DeadlineExceeded.
        """
        assert self._end is not None
        await asyncio.wait((self._end,), timeout=timeout)
        if not self._end.done():
            raise DeadlineExceeded(f"the end of job {self._id!r}", seconds=timeout or 0.0)
        self._end.result()

    async def run(self, *, timeout: float | None = None) -> None:
        """Wait for the end; a job that does not end in time, or is interrupted, is cancelled.

        Raises as :meth:`wait`.
        """
        async with self:
            await self.wait(timeout=timeout)

    async def progress(self, *, interval: float = 0.1) -> AsyncIterator[JobProgress]:
        """Yield the progress at once, every ``interval`` seconds, and when the job is over.

        QEMU has no event for progress, so this asks (``query-jobs``). Raises as
        :meth:`wait` when the job did not complete.
        """
        assert self._end is not None
        while not self._end.done():
            info = await self._query()
            if info is None:
                break
            yield self._reading(info)
            await asyncio.wait((self._end,), timeout=interval)
        await self.wait()
        if self._last is not None:
            yield self._reading(self._last)

    def _reading(self, info: JobInfo) -> JobProgress:
        return JobProgress(
            job_id=self._id,
            status=self._status if self.is_over else info.status,
            current=info.current_progress,
            total=info.total_progress,
            elapsed=time.monotonic() - self._started,
        )

    async def cancel(self, *, timeout: float | None = None) -> None:
        """Cancel the job (``job-cancel``) and wait until it is gone, ``timeout`` seconds at most.

        A job that is over stays as it ended. Raises ConnectionLost, DeadlineExceeded.
        """
        assert self._end is not None
        if self.is_over:
            return
        try:
            await self._qmp.execute(JobCancel(id=self._id), timeout=timeout)
        except CommandError:
            # Not there (never started, or gone), or just concluding.
            if await self._query() is None:
                self._end.cancel()
                return
        with contextlib.suppress(JobFailed, JobCancelled):
            await self.wait(timeout=timeout)

    async def _unwind(self) -> None:
        """Leave no job behind, and do not wait for ever for a QEMU that hangs."""
        with contextlib.suppress(BlockSdkError):
            await finish(self.cancel(timeout=_PATIENCE))

    async def _leave(self, error: BaseException | None) -> None:
        await self._unwind()

    def __repr__(self) -> str:
        return f"<{self._kind} job {self._id!r}: {self._status}>"
