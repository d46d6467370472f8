"""What one command adds to a running QEMU and another removes.

Guest devices and user objects are such; nodes, jobs and exports are not. The one mechanism:
what has been added is removed again when whoever wanted it is interrupted, or leaves the block.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Self, TypeVar

from qemu_blocksdk.codec import Command
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    StateError,
)
from qemu_blocksdk.qmp import CLEANUP_TIMEOUT, AsyncQmp, clean_up, run_with_cleanup, shielded
from qemu_blocksdk.qmp.resource import AsyncResource

from ._base import Live, subject

R = TypeVar("R")


class Hotplugged(Live, AsyncResource):
    """Something of a running QEMU, by its id. Leaving the block removes it."""

    def __init__(self, qmp: AsyncQmp, id: str) -> None:
        self._qmp = qmp
        self._id = id
        self._is_added = self._is_removed = False

    @property
    def id(self) -> str:
        """The id in QEMU."""
        return self._id

    async def _begin(self, adding: Coroutine[object, None, None]) -> Self:
        """Run to its end what adds it; when that is interrupted, remove it again."""

        async def begin() -> Self:
            try:
                await shielded(self._add(adding))
            except BaseException as error:
                if self._is_added:
                    await self._leave(error)
                raise
            return self

        return await run_with_cleanup(begin(), owner=self._qmp)

    async def _add(self, adding: Coroutine[object, None, None]) -> None:
        await adding
        self._is_added = True

    async def _execute(self, command: Command[R], *, timeout: float | None = None) -> R:
        # Another one may have the id by now.
        if self._is_removed:
            raise StateError(subject(self), verb=command._name)
        return await super()._execute(command, timeout=timeout)

    async def _remove(self) -> None:
        """Remove it."""
        raise NotImplementedError

    async def _leave(self, error: BaseException | None) -> None:
        if self._is_removed:
            return
        try:
            if not await clean_up(self._remove(), owner=self._qmp) and error is None:
                raise DeadlineExceeded(f"the end of {subject(self)}", seconds=CLEANUP_TIMEOUT)
        except BlockSdkError as left:
            is_gone = isinstance(left, ConnectionLost) or (
                isinstance(left, CommandError) and left.desc.endswith("not found")
            )
            if error is None and not is_gone:
                raise

    def _text(self, what: str) -> str:
        return f"<{what} {self._id!r}{': removed' if self._is_removed else ''}>"
