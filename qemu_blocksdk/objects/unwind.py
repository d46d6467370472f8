"""Clean-up that is not cut short, and what is cleaned up."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import weakref
from collections.abc import Coroutine
from pathlib import Path


async def finish(work: Coroutine[object, None, None]) -> None:
    """Run clean-up to its end even when the caller is cancelled meanwhile.

    The cancellation is raised afterwards.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


class Scratch:
    """A directory for sockets, private to this user, gone with its owner at the latest."""

    def __init__(self) -> None:
        self.path: Path = Path(tempfile.mkdtemp(prefix="blocksdk-"))
        self._last_resort = weakref.finalize(self, _remove, self.path, os.getpid())

    def remove(self) -> None:
        """Delete the directory and all in it. May be repeated."""
        self._last_resort()


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(path, ignore_errors=True)
