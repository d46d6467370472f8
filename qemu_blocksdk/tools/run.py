"""Running a tool to its end."""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Collection, Sequence

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import DeadlineExceeded, ToolError
from qemu_blocksdk.qmp import AsyncProcess, finish

Path = str | os.PathLike[str]


class Completed(Value):
    """A tool that has ended: its exit status, and stdout and stderr together."""

    exit_status: int
    output: str


async def run(
    argv: Sequence[Path], *, timeout: float | None = None, accept: Collection[int] = (0,)
) -> Completed:
    """Run a program until it ends, ``timeout`` seconds at most.

    It is ended when the time is up or the caller is cancelled. Raises LaunchError,
    DeadlineExceeded, ToolError for an exit status that is not in ``accept``.
    """
    words = [os.fspath(word) for word in argv]
    process = await AsyncProcess.spawn(words)
    try:
        status = await process.wait(timeout=timeout)
    except (asyncio.CancelledError, DeadlineExceeded):
        await finish(process.kill())
        raise
    output = process.output()
    if status not in accept:
        raise ToolError(process.argv, exit_status=status, output=output)
    return Completed(exit_status=status, output=output)


def as_file(path: Path) -> str:
    """Return the absolute path, which no tool takes for an option or a protocol (``nbd:x``).

    An image would also look for a relative backing file in its own folder, not here.
    """
    return str(pathlib.Path(path).absolute())
