"""Time limits of waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from qemu_blocksdk.errors import DeadlineExceeded


@contextlib.asynccontextmanager
async def within(seconds: float | None, waited_for: str) -> AsyncGenerator[None]:
    """Raise DeadlineExceeded when the block takes longer (None: it may)."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(waited_for, seconds=seconds or 0.0) from None
