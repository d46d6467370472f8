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

    def exceeded(self, waited_for: str) -> DeadlineExceeded:
        """Return a DeadlineExceeded that names the limit which the caller gave."""
        return DeadlineExceeded(waited_for, seconds=self.seconds)


@contextlib.asynccontextmanager
async def within(
    seconds: float | Deadline | None, waited_for: str, *, limit: float | None = None
) -> AsyncGenerator[None]:
    """Raise DeadlineExceeded when the block takes longer than ``seconds`` (None: no limit).

    ``limit`` is the limit that the error names, where ``seconds`` is only the rest of it. The
    block must have nothing to clean up: such work needs a task of its own (``cancellation``).
    """
    deadline = seconds if isinstance(seconds, Deadline) else Deadline(seconds)
    expiry = asyncio.timeout(None if deadline.seconds == math.inf else deadline.left())
    try:
        async with expiry:
            yield
    except TimeoutError:
        if not expiry.expired():
            raise  # a TimeoutError of the block itself
        shown = deadline.seconds if limit is None else limit
        raise DeadlineExceeded(waited_for, seconds=shown) from None
