"""Running a program as scripts do: its output taken, or left to be the script's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from qemu_blocksdk.codec import masked_args
from qemu_blocksdk.qmp import AsyncProcess, background_loop, shielded
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.tools.run import run

_ANY_STATUS = range(-255, 256)
_STDOUT, _STDERR = 1, 2
_GAP = " " * 31
"""What the newer iotests prints before the signal, where it takes the output."""


@sealed
def qemu_tool_pipe_and_status(
    tool: str, args: Sequence[str], connect_stderr: bool = True
) -> tuple[str, int]:
    """Run a tool; return what it printed, with ``connect_stderr`` on stderr too, and its status."""
    done = background_loop.run(run(args, accept=_ANY_STATUS, merged=connect_stderr))
    if done.stderr:
        os.write(_STDERR, done.stderr.encode(errors="surrogateescape"))
    output = done.stdout.replace("\r\n", "\n").replace("\r", "\n")
    return output, told(tool, args, done.exit_status, gap=_GAP)


@sealed
def call(words: Sequence[str], *, stdout: int = _STDOUT, stderr: int = _STDERR) -> int:
    """Run a program whose output goes to descriptors, the script's own; return its status."""
    return background_loop.run(_call(words, stdout, stderr))


async def _call(words: Sequence[str], stdout: int, stderr: int) -> int:
    process = await AsyncProcess.spawn(words, stdout=stdout, stderr=stderr, ends_itself=True)
    try:
        return await process.wait()
    finally:
        await shielded(process.kill())


@sealed
def told(tool: str, words: Sequence[str], status: int, *, gap: str = "") -> int:
    """Return the status of a tool; say so on stderr where a signal ended it."""
    if status < 0:
        sys.stderr.write(f"{tool} received signal {gap}{-status}: {' '.join(masked_args(words))}\n")
    return status
