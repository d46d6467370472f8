"""What is known of jobs without asking anybody: states, progress, results. No I/O."""

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
    "can_become",
]
