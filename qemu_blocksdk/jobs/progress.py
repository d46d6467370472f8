"""How far a job is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.codec import Value

if TYPE_CHECKING:
    from qemu_blocksdk.wire import JobStatus


class JobProgress(Value):
    """One reading of a job's progress.

    ``current`` and ``total`` are in the job's own unit, bytes for block jobs; ``total``
    may grow while the job runs. ``elapsed`` is in seconds since the job was started.
    """

    job_id: str
    status: JobStatus
    current: int
    total: int
    elapsed: float

    @property
    def fraction(self) -> float:
        """Between 0.0 and 1.0; 1.0 for a job that had nothing to do."""
        return min(1.0, self.current / self.total) if self.total else 1.0

    @property
    def rate(self) -> float:
        """Units (bytes) a second on average since the start."""
        return self.current / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at the average rate; None while there is none."""
        return (self.total - self.current) / self.rate if self.rate else None
