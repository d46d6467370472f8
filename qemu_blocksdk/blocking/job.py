# Generated from objects/job.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.job.AsyncJob`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.job import AsyncJob
from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.jobs import JobProgress, JobResult
    from qemu_blocksdk.objects.job import BlockJob
    from qemu_blocksdk.wire import BlockJobError, JobInfo, JobStatus, JobType, MirrorCopyMode

    from .qmp import Qmp


class Job(SyncProxy):
    """A background operation of QEMU, from its start to its dismissal.

    Got from the verb that starts it (``node.backup(...)``) or from
    :meth:`BlockLayer.attach_job`. As a context manager it leaves no job behind: what is not
    over is cancelled. A verb that comes when the job is gone raises StateError; one that
    its state forbids CommandError.
    """

    @property
    def _async(self) -> AsyncJob:
        return cast("AsyncJob", self._reach())

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

    @classmethod
    def attach(cls, qmp: Qmp, job_id: str) -> Self:
        """Watch a job that somebody else started; see :meth:`BlockLayer.attach_job`."""
        return cls._of(background_loop.run(AsyncJob.attach(qmp._async, job_id)))

    @property
    def id(self) -> str:
        """The job's id in QEMU."""
        return self._async.id

    @property
    def kind(self) -> JobType:
        """What the job does: ``backup``, ``mirror``, ..."""
        return self._async.kind

    @property
    def status(self) -> JobStatus:
        """The status that the last event told; ``null`` when the job is gone."""
        return self._async.status

    @property
    def result(self) -> JobResult | None:
        """How the job ended; None while it has not."""
        return self._async.result

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, well or not, or QEMU has."""
        return self._async.is_over

    @property
    def io_errors(self) -> int:
        """How many I/O errors the job has met (``BLOCK_JOB_ERROR``), also those it ignored."""
        return self._async.io_errors

    @property
    def last_io_error(self) -> BlockJobError | None:
        """The last of them: what it was doing, and what it did about it."""
        return self._async.last_io_error

    def query_info(self) -> JobInfo:
        """Ask for the job as it is now (``query-jobs``). Raises StateError when it is gone."""
        return background_loop.run(self._async.query_info())

    def query_block_info(self) -> BlockJob | None:
        """Ask for what only block jobs have: speed, ``io_status``... (``query-block-jobs``).

        None when it is gone or no block job, as those that create or amend images.
        """
        return background_loop.run(self._async.query_block_info())

    def wait(self, *, until: JobStatus | None = None, timeout: float | None = None) -> None:
        """Wait until the job is over, or ``until`` it has come into a status.

        ``timeout`` is in seconds; the job goes on when it runs out. Passing through the
        status is enough. Raises JobFailed with QEMU's words or JobCancelled when the job
        did not complete, JobStopped when it stands still on an I/O error, StateError when
        the status cannot be reached any more, ConnectionLost, DeadlineExceeded.
        """
        return background_loop.run(self._async.wait(until=until, timeout=timeout))

    def run(
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
        return self._async.run_from_thread(
            pre_finalize=pre_finalize,
            cancel=cancel,
            on_progress=on_progress,
            timeout=timeout,
            check=check,
        )

    def progress(self, *, interval: float = 0.1) -> Iterator[JobProgress]:
        """Yield the progress at once, every ``interval`` seconds, and when the job is over.

        QEMU has no event for progress, so this asks (``query-jobs``). Raises as
        :meth:`wait` after the last, when the job did not complete.
        """
        yield from background_loop.iterate(self._async.progress(interval=interval))

    def pause(self, *, timeout: float | None = None) -> None:
        """Pause the job (``job-pause``) and wait until it stands still.

        Raises CommandError when it is paused already.
        """
        return background_loop.run(self._async.pause(timeout=timeout))

    def resume(self, *, timeout: float | None = None) -> None:
        """Let a paused job, or one that an error stopped, go on (``job-resume``)."""
        return background_loop.run(self._async.resume(timeout=timeout))

    def set_speed(self, speed: int, *, timeout: float | None = None) -> None:
        """Limit the job to ``speed`` bytes a second, 0 for no limit (``block-job-set-speed``)."""
        return background_loop.run(self._async.set_speed(speed, timeout=timeout))

    def change(self, *, copy_mode: MirrorCopyMode, timeout: float | None = None) -> None:
        """Change the copy mode of a mirror that runs (``block-job-change``, from QEMU 8.2)."""
        return background_loop.run(self._async.change(copy_mode=copy_mode, timeout=timeout))

    def complete(self, *, timeout: float | None = None) -> None:
        """Make a ready job finish (``job-complete``): a mirror switches over to its target.

        So does the commit of an active layer to its base. Does not wait for the end.
        """
        return background_loop.run(self._async.complete(timeout=timeout))

    def finalize(self, *, timeout: float | None = None) -> None:
        """Let a pending job take effect (``job-finalize``)."""
        return background_loop.run(self._async.finalize(timeout=timeout))

    def dismiss(self, *, timeout: float | None = None) -> None:
        """Remove a concluded job (``job-dismiss``); its :attr:`result` stays."""
        return background_loop.run(self._async.dismiss(timeout=timeout))

    def cancel(self, *, force: bool = True, timeout: float | None = None) -> None:
        """Cancel the job and wait until it is gone, ``timeout`` seconds at most.

        With ``force`` (``job-cancel``) the job ends as cancelled, and its target is not to be
        used. Without (``block-job-cancel``) that is so as well, except for a mirror or commit
        that is ready: this ends as *completed*, without switching over, and its target is
        a copy of that moment. :attr:`result` tells which it was. A job that is over stays
        as it ended. Raises ConnectionLost, DeadlineExceeded.
        """
        return background_loop.run(self._async.cancel(force=force, timeout=timeout))
