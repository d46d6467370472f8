"""Making encrypted images in spite of QEMU 7.2."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from qemu_blocksdk.errors import ToolError

T = TypeVar("T")

BY_CHANCE = "Unable to get accurate CPU usage"
"""What QEMU 7.2 says when it has failed at timing its own key derivation."""
TRIES = 50


async def luks_at_last(make: Callable[[], Awaitable[T]]) -> T:
    """Run what makes an image, again where QEMU failed at timing its own key derivation."""
    # QEMU 7.2: it times the derivation by a clock that on some machines moves in steps of
    # milliseconds, and gives up when the clock has not moved; nothing is written by then.
    for _ in range(TRIES - 1):
        try:
            return await make()
        except ToolError as error:
            if BY_CHANCE not in error.output:
                raise
    return await make()
