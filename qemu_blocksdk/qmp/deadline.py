"""Time limits of waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from qemu_blocksdk.errors import DeadlineExceeded


@contextlib.asynccontextmanager
async def within(
    seconds: float | None, waited_for: str, *, limit: float | None = None
) -> AsyncGenerator[None]:
    """Raise DeadlineExceeded when the block takes longer (None: it may).

    ``limit`` is what the error says, where ``seconds`` is what is left of it. The block must not
    clean up: what does is a unit (``unwind``).
    """
    expiry = asyncio.timeout(seconds)
    try:
        async with expiry:
            yield
    except TimeoutError:
        if not expiry.expired():
            raise  # somebody else's
        shown = seconds if limit is None else limit
        raise DeadlineExceeded(waited_for, seconds=shown or 0.0) from None
