"""Time limits of waiting."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator

from qemu_blocksdk.errors import DeadlineExceeded


class Deadline:
    """A time limit that the parts of one call share; it begins when this is made."""

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float | None) -> None:
        """Begin a limit in seconds (None: no limit)."""
        self.seconds: float = math.inf if seconds is None else seconds
        self._at = time.monotonic() + self.seconds

    def left(self) -> float:
        """Return how many seconds are left, 0.0 at least."""
        return max(0.0, self._at - time.monotonic())

    def exceeded(self, waited_for: str) -> DeadlineExceeded:
        """Return the error that says so; it shows the limit that the caller gave."""
        return DeadlineExceeded(waited_for, seconds=self.seconds)


@contextlib.asynccontextmanager
async def within(
    seconds: float | Deadline | None, waited_for: str, *, limit: float | None = None
) -> AsyncGenerator[None]:
    """Raise DeadlineExceeded when the block takes longer (None: no limit).

    ``limit`` is what the error says, where ``seconds`` is what is left of it. The block must not
    clean up: what does is a unit (``unwind``).
    """
    deadline = seconds if isinstance(seconds, Deadline) else Deadline(seconds)
    expiry = asyncio.timeout(None if deadline.seconds == math.inf else deadline.left())
    try:
        async with expiry:
            yield
    except TimeoutError:
        if not expiry.expired():
            raise  # somebody else's
        shown = deadline.seconds if limit is None else limit
        raise DeadlineExceeded(waited_for, seconds=shown) from None
