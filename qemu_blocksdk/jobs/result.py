"""How a job ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import JobCancelled, JobFailed

if TYPE_CHECKING:
    from qemu_blocksdk.wire import JobType

JobOutcome = Literal["completed", "failed", "cancelled"]


class JobResult(Value):
    """How a job ended; ``error`` is what QEMU said of a failed one, None of others."""

    job_id: str
    job_type: JobType
    outcome: JobOutcome
    error: str | None = None

    def check(self) -> None:
        """Raise JobFailed or JobCancelled unless the job completed."""
        if self.outcome == "failed":
            raise JobFailed(self.job_id, error=self.error or "", job_type=self.job_type)
        if self.outcome == "cancelled":
            raise JobCancelled(self.job_id, job_type=self.job_type)
