"""What is known of a job: one task reads its events and is the only one to change it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
import time
from collections import Counter

from qemu_blocksdk.errors import BlockSdkError, CommandError, JobStopped, StateError
from qemu_blocksdk.jobs import JobOutcome, JobResult
from qemu_blocksdk.jobs.state import OVER, PAUSED
from qemu_blocksdk.qmp import AsyncEventStream, AsyncQmp
from qemu_blocksdk.wire import (
    BlockJobCompleted,
    BlockJobError,
    BlockJobInfoBackup,
    BlockJobInfoCommit,
    BlockJobInfoMirror,
    BlockJobInfoStream,
    JobDismiss,
    JobFinalize,
    JobInfo,
    JobStatus,
    JobStatusChange,
    JobType,
    QueryBlockJobs,
    QueryJobs,
)

from .live import Live, follow, subject

BlockJob = BlockJobInfoBackup | BlockJobInfoCommit | BlockJobInfoMirror | BlockJobInfoStream
"""What QEMU tells of a block job."""

WatchedEvent = JobStatusChange | BlockJobError | BlockJobCompleted

_TELLING = ("backup", "commit", "mirror", "stream")
_CANCELLED = "Operation canceled"  # strerror(ECANCELED) of QEMU, which sets no locale


class WatchedJob(Live):
    """A job's state, outcome and I/O errors; who waits for a change of them is woken."""

    def __init__(
        self, qmp: AsyncQmp, job_id: str, kind: JobType, *, auto_finalize: bool, auto_dismiss: bool
    ) -> None:
        self._qmp = qmp
        self._id = job_id
        self._kind: JobType = kind
        self._auto_finalize = auto_finalize
        self._auto_dismiss = auto_dismiss
        self._status: JobStatus = "undefined"
        self._visits = Counter[JobStatus]()
        self._started = time.monotonic()
        self._last: JobInfo | None = None
        self._io_errors = 0
        self._io_error: BlockJobError | None = None
        self._is_stopped = False
        self._result: JobResult | None = None
        self._lost: BlockSdkError | None = None
        self._waiting = list[asyncio.Future[None]]()
        self._task: asyncio.Task[None] | None = None
        self._told: str | None = None
        self._dismissal: asyncio.Task[None] | None = None
        self._events: AsyncEventStream[WatchedEvent] = (
            qmp.events(JobStatusChange, id=job_id)
            .also(BlockJobError, device=job_id)
            .also(BlockJobCompleted, device=job_id)
        )

    # -- what is known --------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The job's id in QEMU."""
        return self._id

    @property
    def kind(self) -> JobType:
        """What the job does: ``backup``, ``mirror``, ..."""
        return self._kind

    @property
    def status(self) -> JobStatus:
        """The status that the last event told; ``null`` when the job is gone."""
        return self._status

    @property
    def result(self) -> JobResult | None:
        """How the job ended; None while it has not."""
        return self._result

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, well or not, or QEMU has."""
        return self._result is not None or self._lost is not None

    @property
    def io_errors(self) -> int:
        """How many I/O errors the job has met (``BLOCK_JOB_ERROR``), also those it ignored."""
        return self._io_errors

    @property
    def last_io_error(self) -> BlockJobError | None:
        """The last of them: what it was doing, and what it did about it."""
        return self._io_error

    async def query_info(self) -> JobInfo:
        """Ask for the job as it is now (``query-jobs``). Raises StateError when it is gone."""
        info = None if self._status == "null" else await self._query()
        if info is None:
            raise StateError(subject(self), verb="query-jobs")
        return info

    async def query_block_info(self) -> BlockJob | None:
        """Ask for what only block jobs have: speed, ``io_status``... (``query-block-jobs``).

        None when it is gone or no block job, as those that create or amend images.
        """
        for info in await self._execute(QueryBlockJobs()):
            if isinstance(info, BlockJob) and info.device == self._id:
                return info
        return None

    async def _query(self, *, timeout: float | None = None) -> JobInfo | None:
        jobs = await self._execute(QueryJobs(), timeout=timeout)
        info = next((job for job in jobs if job.id == self._id), None)
        self._last = info or self._last
        return info

    # -- the task that watches ------------------------------------------------------------

    def _watch(self) -> None:
        self._task = follow(self, self._follow(), self._on_follower_end)

    async def _follow(self) -> None:
        async with self._events:
            if self._status == "concluded":  # before anybody listened
                await self._conclude()
            while self._status != "null":
                self._wake()
                event: WatchedEvent | None = await self._events.get()
                while event is not None:
                    await self._take_in(event)
                    event = self._events.get_nowait()
        self._wake()
        if self._dismissal is not None:
            with contextlib.suppress(BlockSdkError):
                await self._dismissal

    def _on_follower_end(self, error: BlockSdkError) -> None:
        if self._result is None:
            self._lost = error
        self._wake()

    async def _take_in(self, event: WatchedEvent) -> None:
        if isinstance(event, JobStatusChange):
            if not self._visits and event.status != "created":
                return  # the end of one before, that had the same id
            self._on_status(event.status)
            if event.status == "pending" and self._auto_finalize and self._kind == "stream":
                await self._finalize()
            if event.status in OVER and self._result is None:
                await self._conclude()
        elif isinstance(event, BlockJobCompleted):
            self._told = event.error
        else:
            self._on_io_error(event)

    async def _finalize(self) -> None:
        """Let a stream take effect, which then goes at once (``NodeJobs.stream``)."""
        await self._query(timeout=math.inf)  # the last that is known of its progress
        with contextlib.suppress(CommandError):  # it has been cancelled
            await self._execute(JobFinalize(id=self._id), timeout=math.inf)

    def _on_status(self, status: JobStatus) -> None:
        self._status = status
        self._visits[status] += 1
        self._is_stopped = self._is_stopped and status in PAUSED

    def _on_io_error(self, error: BlockJobError) -> None:
        self._io_errors += 1
        self._io_error = error
        self._is_stopped = error.action == "stop"

    async def _conclude(self) -> None:
        """Learn how the job ended: an event says that it is over, only the query how."""
        # No limit: nobody's call waits for this.
        is_there = self._status == "concluded"
        info = await self._query(timeout=math.inf) if is_there else None
        error = info.error if info is not None else self._told
        if info is None and error is None and self._visits["aborting"]:
            # Another client was faster. Failed block jobs tell the error in an event.
            error = _CANCELLED if self._kind in _TELLING else "another client dismissed it"
        if info is None:
            self._status = "null"
        elif self._auto_dismiss:
            # QEMU has it before whatever is asked next, so nobody waits for the reply.
            self._dismissal = asyncio.create_task(self._dismiss())
            await asyncio.sleep(0)
            self._status = "null"
        outcome: JobOutcome = "completed"
        if error is not None:
            outcome = "cancelled" if error == _CANCELLED else "failed"
        self._result = JobResult(
            job_id=self._id,
            job_type=self._kind,
            outcome=outcome,
            error=error if outcome == "failed" else None,
        )

    async def _dismiss(self) -> None:
        with contextlib.suppress(CommandError):  # somebody else was faster
            await self._execute(JobDismiss(id=self._id), timeout=math.inf)
        self._status = "null"

    def _never_began(self) -> None:
        """Stop to watch for a job whose start was given up before QEMU had done it."""
        assert self._task is not None
        self._task.cancel()
        self._status = "null"
        self._result = JobResult(job_id=self._id, job_type=self._kind, outcome="cancelled")

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def _news(self) -> None:
        """Wait until the task has changed something."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _assert_goes_on(self) -> None:
        """Raise why there is nothing to wait for: QEMU has ended, the job stands still."""
        if self._lost is not None:
            raise copy.copy(self._lost)
        if self._is_stopped and self._status in PAUSED:
            assert self._io_error is not None
            operation = self._io_error.operation
            raise JobStopped(self._id, operation=operation, job_type=self._kind)
