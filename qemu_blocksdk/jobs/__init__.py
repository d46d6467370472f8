"""What is known of jobs and migrations without asking: states, progress, results. No I/O."""

from .migration_progress import MigrationProgress
from .progress import JobProgress
from .result import JobOutcome, JobResult
from .state import ALLOWED, FOLLOWS, JobVerb, can_become

__all__ = [
    "ALLOWED",
    "FOLLOWS",
    "JobOutcome",
    "JobProgress",
    "JobResult",
    "JobVerb",
    "MigrationProgress",
    "can_become",
]
