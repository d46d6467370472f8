"""One script as a process, and the end of all that it started.

What a script starts inherits its environment, and is found again by a variable in it. What was
given another is ours, as an orphan, when the script has ended; whose it was is not known.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.qmp import AsyncProcess, shielded

_MARK = "QEMU_BLOCKSDK_SCRIPT"
_PR_SET_CHILD_SUBREAPER = 36


@asynccontextmanager
async def orphanage() -> AsyncGenerator[None]:
    """Have what scripts of the block leave behind become ours, and end it with the block.

    For a program of its own: whatever other children it has are ended as well.
    """
    ours = f"PPid:\t{os.getpid()}\n".encode()

    def is_orphan(entry: Path) -> bool:
        status = (entry / "status").read_bytes()
        return ours in status and b"State:\tZ" not in status

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        await shielded(_end_all(is_orphan))


async def run(
    script: Path, variables: Mapping[str, str], *, output: Path, timeout: float
) -> int | None:
    """Run a script in its folder; return its exit status, or None after ``timeout`` seconds.

    stdout and stderr go to ``output``. Nothing that it started runs any more then.
    """
    mark = secrets.token_hex(8)
    with output.open("wb") as file:
        process = await AsyncProcess.spawn(
            # -P: an iotests.py that lies beside the script is not the one that it gets.
            [sys.executable, "-P", str(script)],
            env={**variables, _MARK: mark},
            cwd=script.parent,
            stdout=file.fileno(),
            stderr=file.fileno(),
        )
        try:
            return await process.wait(timeout=timeout)
        except DeadlineExceeded:
            return None
        finally:
            await shielded(_end_tree(process, mark))


async def _end_tree(process: AsyncProcess, mark: str) -> None:
    await process.kill()
    wanted = f"{_MARK}={mark}".encode()
    await _end_all(lambda entry: wanted in (entry / "environ").read_bytes().split(b"\0"))


async def _end_all(is_one: Callable[[Path], bool]) -> None:
    # Who was ended may have started another just before.
    while found := list(_found(is_one)):
        for pidfd in found:
            try:
                await _killed(pidfd)
            finally:
                os.close(pidfd)


async def _killed(pidfd: int) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(pidfd, gone.set)
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await gone.wait()
    finally:
        loop.remove_reader(pidfd)


def _found(is_one: Callable[[Path], bool]) -> Iterator[int]:
    """Descriptors of the processes of whose entry in /proc this is true."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # gone, or not ours to look at
                # Opened before the look: the number may be another's a moment later.
                pidfd = os.pidfd_open(int(entry.name))
                try:
                    is_wanted = is_one(entry)
                except OSError:
                    is_wanted = False
                if is_wanted:
                    yield pidfd
                else:
                    os.close(pidfd)
