"""A background job of QEMU: subscribed to before it starts, then watched, controlled and awaited.

One task per job (:meth:`AsyncJob._follow`) reads its events and is the only owner of its state; it
wakes everyone who waits. ``jobs/state.py`` has the state machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Self

from qemu_blocksdk.codec import Command
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
    JobStopped,
    StateError,
)
from qemu_blocksdk.jobs import JobOutcome, JobProgress, JobResult, JobVerb, can_become
from qemu_blocksdk.jobs.state import ENDING, OVER, PAUSED
from qemu_blocksdk.qmp import (
    AsyncEventStream,
    AsyncQmp,
    background_loop,
    clean_up,
    gather,
    run_with_cleanup,
)
from qemu_blocksdk.qmp.deadline import Deadline, Limit, within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import (
    BlockJobCancel,
    BlockJobChange,
    BlockJobChangeOptionsMirror,
    BlockJobCompleted,
    BlockJobError,
    BlockJobInfoBackup,
    BlockJobInfoCommit,
    BlockJobInfoMirror,
    BlockJobInfoStream,
    BlockJobSetSpeed,
    JobCancel,
    JobComplete,
    JobDismiss,
    JobFinalize,
    JobInfo,
    JobPause,
    JobResume,
    JobStatus,
    JobStatusChange,
    JobType,
    MirrorCopyMode,
    QueryBlockJobs,
    QueryJobs,
)

from ._base import Live, follow, subject

BlockJob = BlockJobInfoBackup | BlockJobInfoCommit | BlockJobInfoMirror | BlockJobInfoStream
"""What QEMU tells of a block job."""

WatchedEvent = JobStatusChange | BlockJobError | BlockJobCompleted

_TELLING = ("backup", "commit", "mirror", "stream")
_CANCELLED = "Operation canceled"  # strerror(ECANCELED) of QEMU, which sets no locale


@sealed_class
class AsyncJob(Live, AsyncResource):
    """A background operation of QEMU, from its start to its dismissal.

    Got from the verb that starts it (``node.backup(...)``) or from
    :meth:`AsyncBlockLayer.attach_job`. As a context manager it leaves no job behind: what is not
    over is cancelled. A verb that comes when the job is gone raises StateError; one that
    its state forbids CommandError.
    """

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
            qmp.events(JobStatusChange.where(id=job_id))
            .also(BlockJobError.where(device=job_id))
            .also(BlockJobCompleted.where(device=job_id))
        )

    @classmethod
    async def _start(
        cls,
        owner: Live,
        command: Command[None],
        *,
        job_id: str,
        kind: JobType,
        auto_finalize: bool = True,
        auto_dismiss: bool = True,
    ) -> Self:
        """Send a command that starts a job whose dismissal is not QEMU's; return it in flight.

        Errors name the ``owner``; no job is left behind then.
        """
        self = cls(
            owner._connection(),
            job_id,
            kind,
            auto_finalize=auto_finalize,
            auto_dismiss=auto_dismiss,
        )

        async def start() -> Self:
            async with starting(self):
                await owner._execute(command)
            return self

        return await run_with_cleanup(start(), owner=self._qmp)

    @classmethod
    async def attach(cls, qmp: AsyncQmp, job_id: str) -> Self:
        """Watch a job that somebody else started; see :meth:`AsyncBlockLayer.attach_job`."""
        self = cls(qmp, job_id, "backup", auto_finalize=True, auto_dismiss=False)
        try:
            info = await self._query()
            if info is None:
                raise StateError(f"job {job_id!r}", verb="attach")
            self._kind = info.type
            block_job = await self.query_block_info()
            if block_job is not None:
                self._auto_finalize = block_job.auto_finalize
            self._on_status(info.status)
        except BaseException:
            self._events.close()
            raise
        self._watch()
        return self

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

    def __repr__(self) -> str:
        state = self._status if self._result is None else self._result.outcome
        return f"<{self._kind} job {self._id!r}: {state}>"

    # -- waiting -------------------------------------------------------------------------------

    async def wait(self, *, until: JobStatus | None = None, timeout: float | None = None) -> None:
        """Wait until the job is over, or ``until`` it has come into a status.

        ``timeout`` is in seconds; the job goes on when it runs out. Passing through the
        status is enough. Raises JobFailed with QEMU's words or JobCancelled when the job
        did not complete, JobStopped when it stands still on an I/O error, StateError when
        the status cannot be reached any more, ConnectionLost, DeadlineExceeded.
        """
        seen = self._visits[until] if until is not None else 0
        what = "the end" if until is None else f"status {until!r}"
        async with within(timeout, f"{what} of {subject(self)}"):
            while not self._has_come(until, seen):
                self._assert_goes_on()
                await self._wait_changed()

    def _has_come(self, until: JobStatus | None, seen: int) -> bool:
        if until is None:
            if self._result is not None:
                self._result.check()
            return self._result is not None
        if self._status == until or self._visits[until] > seen:
            return True
        if can_become(self._status, until):
            return False
        if self._result is None and self._status in ENDING:
            return False  # how it ended is about to be known
        if not seen:
            if self._result is not None:
                self._result.check()
            raise StateError(subject(self), verb=f"becoming {until}")
        return True

    async def run(
        self,
        *,
        pre_finalize: Callable[[], object] | None = None,
        cancel: bool = False,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> JobResult:
        """Take the job through all its states, to its end and dismissal.

        A job that becomes ready is completed. One that was started with
        ``auto_finalize=False`` is finalized when it is pending, or cancelled with ``cancel``;
        ``pre_finalize`` is called (and awaited) before, ``on_progress`` with each reading (every
        0.1 s, and at the end). Returns how it ended; with ``check``, raises JobFailed, and
        JobCancelled unless it was ``cancel`` that did it. A job that does
        not end within ``timeout`` seconds, stops on an error, or is interrupted, is
        cancelled, also one that is about to switch over; that takes CLEANUP_TIMEOUT more at the
        most, and what QEMU does not do within it happens when it can. Raises JobStopped,
        ConnectionLost, DeadlineExceeded, and what ``pre_finalize`` and ``on_progress`` raise.
        """
        return await self._run(pre_finalize, cancel, Deadline(timeout), check, on_progress)

    async def _run(
        self,
        pre_finalize: Callable[[], object] | None,
        cancel: bool,
        deadline: Deadline,
        check: bool,
        on_progress: Callable[[JobProgress], object] | None,
    ) -> JobResult:
        what = f"the end of {subject(self)}"
        work = self._to_its_end(pre_finalize, cancel=cancel, on_progress=on_progress)
        result = await run_with_cleanup(work, timeout=deadline, waited_for=what, owner=self._qmp)
        if check and not (cancel and result.outcome == "cancelled"):
            result.check()
        return result

    async def _to_its_end(
        self,
        pre_finalize: Callable[[], object] | None,
        *,
        cancel: bool,
        on_progress: Callable[[JobProgress], object] | None,
    ) -> JobResult:
        async with self:
            work = self._drive(pre_finalize, cancel=cancel)
            if on_progress is None:
                await work
            else:
                await gather([work, self._report(on_progress)])
        assert self._result is not None
        return self._result

    async def _drive(self, pre_finalize: Callable[[], object] | None, *, cancel: bool) -> None:
        if await self._comes_to_pending() and pre_finalize is not None:
            waited = pre_finalize()
            if inspect.isawaitable(waited):
                await waited
        if self._status == "pending":
            await (self.cancel() if cancel else self.finalize())
        with contextlib.suppress(JobFailed, JobCancelled):
            await self.wait()

    async def _report(self, on_progress: Callable[[JobProgress], object]) -> None:
        with contextlib.suppress(JobFailed, JobCancelled):
            async for reading in self.progress():
                on_progress(reading)

    def run_from_thread(
        self,
        *,
        pre_finalize: Callable[[], object] | None = None,
        cancel: bool = False,
        on_progress: Callable[[JobProgress], object] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> JobResult:
        """Like :meth:`run`; callbacks run in the caller's thread."""
        deadline = Deadline(timeout)
        if pre_finalize is not None:
            try:
                if background_loop.run(self._comes_to_pending(deadline)):
                    pre_finalize()
            except BaseException:
                background_loop.run(self._unwind())
                raise
        return background_loop.run_with_progress(
            lambda report: self._run(None, cancel, deadline, check, report), on_progress
        )

    async def _comes_to_pending(self, limit: Limit = None) -> bool:
        """Complete the job if it becomes ready; tell whether it waits to be finalized."""
        completed = False
        async with within(limit, f"the end of {subject(self)}"):
            while self._result is None and (self._auto_finalize or self._status != "pending"):
                if self._status == "ready" and not completed:
                    completed = True
                    # Ask first: a QEMU that hangs would carry out job-complete when it goes on,
                    # long after the limit.
                    await self._query()
                    await self.complete()
                else:
                    self._assert_goes_on()
                    await self._wait_changed()
        return self._result is None

    async def progress(self, *, interval: float = 0.1) -> AsyncIterator[JobProgress]:
        """Yield the progress at once, every ``interval`` seconds, and when the job is over.

        QEMU has no event for progress, so this asks (``query-jobs``). Raises as
        :meth:`wait` after the last, when the job did not complete.
        """
        while not self.is_over:
            info = await self._query()
            if info is None:
                break
            yield self._reading(info)
            pause = asyncio.get_running_loop().time() + interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(pause):
                    while not self.is_over:
                        self._assert_goes_on()
                        await self._wait_changed()
        with contextlib.suppress(JobFailed, JobCancelled):
            await self.wait()
        if self._last is not None:
            yield self._reading(self._last)
        await self.wait()

    def _reading(self, info: JobInfo) -> JobProgress:
        return JobProgress(
            job_id=self._id,
            status=self._status if self.is_over else info.status,
            current=info.current_progress,
            total=info.total_progress,
            elapsed=time.monotonic() - self._started,
        )

    # -- verbs ---------------------------------------------------------------------------------

    async def _verb(self, verb: JobVerb, command: Command[None], timeout: float | None) -> None:
        # Another job may have the id by now.
        if self._status == "null":
            raise StateError(subject(self), verb=verb)
        await self._execute(command, timeout=timeout)

    async def pause(self, *, timeout: float | None = None) -> None:
        """Pause the job (``job-pause``) and wait until it stands still.

        Raises CommandError when it is paused already.
        """
        async with within(timeout, f"the pause of {subject(self)}"):
            await self._verb("pause", JobPause(id=self._id), None)
            while self._status not in PAUSED and self._result is None:
                self._assert_goes_on()
                await self._wait_changed()

    async def resume(self, *, timeout: float | None = None) -> None:
        """Let a paused job, or one that an error stopped, go on (``job-resume``)."""
        await self._verb("resume", JobResume(id=self._id), timeout)
        self._is_stopped = False

    async def set_speed(self, speed: int, *, timeout: float | None = None) -> None:
        """Limit the job to ``speed`` bytes a second, 0 for no limit (``block-job-set-speed``)."""
        command = BlockJobSetSpeed(device=self._id, speed=speed)
        await self._verb("set-speed", command, timeout)

    async def change(self, *, copy_mode: MirrorCopyMode, timeout: float | None = None) -> None:
        """Change the copy mode of a mirror that runs (``block-job-change``, from QEMU 8.2)."""
        options = BlockJobChangeOptionsMirror(id=self._id, copy_mode=copy_mode)
        await self._verb("change", BlockJobChange(options=options), timeout)

    async def complete(self, *, timeout: float | None = None) -> None:
        """Make a ready job finish (``job-complete``): a mirror switches over to its target.

        So does the commit of an active layer to its base. Does not wait for the end.
        """
        await self._verb("complete", JobComplete(id=self._id), timeout)

    async def finalize(self, *, timeout: float | None = None) -> None:
        """Let a pending job take effect (``job-finalize``)."""
        await self._verb("finalize", JobFinalize(id=self._id), timeout)

    async def dismiss(self, *, timeout: float | None = None) -> None:
        """Remove a concluded job (``job-dismiss``); its :attr:`result` stays."""
        await self._verb("dismiss", JobDismiss(id=self._id), timeout)
        self._status = "null"

    async def cancel(self, *, force: bool = True, timeout: float | None = None) -> None:
        """Cancel the job and wait until it is gone, ``timeout`` seconds at most.

        With ``force`` (``job-cancel``) the job ends as cancelled, and its target is not to be
        used. Without (``block-job-cancel``) that is so as well, except for a mirror or commit
        that is ready: this ends as *completed*, without switching over, and its target is
        a copy of that moment. :attr:`result` tells which it was. A job that is over stays
        as it ended. Raises ConnectionLost, DeadlineExceeded.
        """
        if self._result is not None:
            return
        command = JobCancel(id=self._id) if force else BlockJobCancel(device=self._id)
        async with within(timeout, f"the end of {subject(self)}"):
            try:
                await self._execute(command)
            except CommandError:
                info = await self._query()
                if info is None and not self._visits:
                    self._never_began()
                    return
                if info is not None and can_become(info.status, "aborting"):
                    raise
                # It is just about to conclude.
            self._is_stopped = False
            with contextlib.suppress(JobFailed, JobCancelled):
                while not force and not self._auto_finalize and self._result is None:
                    if self._status == "pending":
                        return
                    self._assert_goes_on()
                    await self._wait_changed()
                await self.wait()

    # -- the task that follows the job ---------------------------------------------------------

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
                    await self._handle(event)
                    event = self._events.get_nowait()
        self._wake()
        if self._dismissal is not None:
            with contextlib.suppress(BlockSdkError):
                await self._dismissal

    def _on_follower_end(self, error: BlockSdkError) -> None:
        if self._result is None:
            self._lost = error
        self._wake()

    async def _handle(self, event: WatchedEvent) -> None:
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
        """Let a stream take effect, which then goes at once (``AsyncNode.start_stream``)."""
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

    async def _wait_changed(self) -> None:
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

    # -- the end -------------------------------------------------------------------------------

    async def _unwind(self) -> None:
        """Leave no job behind."""
        if self._result is None or self._status == "concluded":
            with contextlib.suppress(BlockSdkError):
                await clean_up(self._remove(), owner=self._qmp)

    async def _remove(self) -> None:
        await self.cancel()
        if self._status == "concluded":
            await self._dismiss()

    async def _leave(self, error: BaseException | None) -> None:
        await self._unwind()


async def run_job(
    start: Coroutine[object, None, AsyncJob],
    owner: AsyncQmp,
    *,
    what: str,
    on_progress: Callable[[JobProgress], object] | None,
    timeout: float | None,
) -> JobResult:
    """Start a job and run it to its end, both within ``timeout`` seconds; see AsyncJob.run."""
    deadline = Deadline(timeout)
    job = await run_with_cleanup(start, timeout=deadline, waited_for=what, owner=owner)
    return await job._run(None, False, deadline, True, on_progress)


@contextlib.asynccontextmanager
async def starting(*jobs: AsyncJob) -> AsyncGenerator[None]:
    """Watch the jobs that the block starts, unless it raises."""
    try:
        yield
    except (asyncio.CancelledError, DeadlineExceeded):
        # Given up while they were on their way: they may exist.
        for job in jobs:
            job._watch()
        await asyncio.gather(*(job._unwind() for job in jobs))
        raise
    except BaseException:
        for job in jobs:
            job._events.close()
        raise
    for job in jobs:
        job._watch()
