"""What becomes of work that nobody waits for: at the end of the program it is cancelled.

It cleans up then, so that nothing is left of it, and a RuntimeWarning names it: an operation in
flight that was forgotten (``image.start_convert(copy)``) does not go unnoticed.
"""

from __future__ import annotations

import asyncio
import atexit
import warnings

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.cancellation import CLEANUP_TIMEOUT

_names: dict[asyncio.Task[object], str] = {}
_guard: background_loop.ProcessGuard | None = None


def watch(task: asyncio.Task[object], name: str) -> None:
    """Report the work as ``name`` when it is cancelled because its event loop ends."""
    global _guard
    # A child of a fork has a background loop of its own.
    if _guard is not background_loop.process_guard:
        _guard = background_loop.process_guard
        _names.clear()
        atexit.register(_cancel_all)
    _names[task] = name
    task.add_done_callback(_report)


def forget(task: asyncio.Task[object]) -> None:
    """Report nothing of work that is cancelled on purpose."""
    _names.pop(task, None)


def _report(task: asyncio.Task[object]) -> None:
    name = _names.pop(task, None)
    if name is not None and task.cancelled():
        what = f"{name} was not over at the end of the program, so it has been cancelled"
        warnings.warn(f"{what}: wait for it with run() or wait()", RuntimeWarning, stacklevel=2)


def _cancel_all() -> None:
    """Cancel what is in flight on the background loop, and wait until it has cleaned up."""
    is_here = _guard is background_loop.process_guard
    if is_here and any(task.get_loop().is_running() for task in _names):
        background_loop.run(_cancel_here())


async def _cancel_here() -> None:
    here = [task for task in _names if task.get_loop() is asyncio.get_running_loop()]
    for task in here:
        task.cancel()
    if here:
        await asyncio.wait(here, timeout=CLEANUP_TIMEOUT)
