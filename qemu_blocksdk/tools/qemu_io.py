"""qemu-io: what the first objects need of it."""

from __future__ import annotations

from qemu_blocksdk.errors import UsageError

from .run import run

PROGRAM = "qemu-io"


async def write(uri: str, offset: int, length: int, *, pattern: int = 0xCD) -> None:
    """Write ``length`` bytes of ``pattern`` (0 to 255) at ``offset`` of an NBD export.

    Raises ToolError, UsageError for a negative number.
    """
    if offset < 0 or length < 0:
        raise UsageError(f"cannot write {length} bytes at {offset}")
    await run([PROGRAM, "-f", "raw", "-c", f"write -q -P {pattern} {offset} {length}", "--", uri])
