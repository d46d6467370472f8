"""What is known of jobs without asking anybody: progress, later the state machine. No I/O."""

from .progress import JobProgress

__all__ = ["JobProgress"]
