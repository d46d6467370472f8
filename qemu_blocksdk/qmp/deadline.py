"""Time limits of waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from qemu_blocksdk.errors import DeadlineExceeded


@contextlib.asynccontextmanager
async def within(seconds: float | None, waited_for: str) -> AsyncGenerator[None]:
    """Raise DeadlineExceeded when the block takes longer (None: it may)."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise  # somebody else's
        raise DeadlineExceeded(waited_for, seconds=seconds or 0.0) from None
