"""Deadlines: time limits that the parts of one call share."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator

from qemu_blocksdk.errors import DeadlineExceeded


class Deadline:
    """A time limit that the parts of one call share; it starts when the object is made."""

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float | None) -> None:
        """Start a limit in seconds (None: no limit)."""
        self.seconds: float = math.inf if seconds is None else seconds
        self._at = time.monotonic() + self.seconds

    def left(self) -> float:
        """Return how many seconds are left, 0.0 at least."""
        return max(0.0, self._at - time.monotonic())

    def timeout(self) -> float | None:
        """Return how many seconds are left as asyncio takes it: None for no limit."""
        return None if self.seconds == math.inf else self.left()

    def exceeded(self, waited_for: str) -> DeadlineExceeded:
        """Return a DeadlineExceeded that names the limit which the caller gave."""
        return DeadlineExceeded(waited_for, seconds=self.seconds)


Limit = float | Deadline | None
"""A limit in seconds from now, or one that has begun; None for no limit."""


def deadline_of(limit: Limit) -> Deadline:
    """Return the deadline of a limit."""
    return limit if isinstance(limit, Deadline) else Deadline(limit)


@contextlib.asynccontextmanager
async def within(limit: Limit, waited_for: str) -> AsyncGenerator[None]:
    """Raise DeadlineExceeded when the block takes longer than the limit.

    The block must have nothing to clean up: such work needs a task of its own (``cancellation``).
    """
    deadline = deadline_of(limit)
    expiry = asyncio.timeout(deadline.timeout())
    try:
        async with expiry:
            yield
    except TimeoutError:
        if not expiry.expired():
            raise  # a TimeoutError of the block itself
        raise deadline.exceeded(waited_for) from None
