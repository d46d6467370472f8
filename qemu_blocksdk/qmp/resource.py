"""What has to be left: the one form of the objects that are context managers."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from qemu_blocksdk.errors import UsageError


class AsyncResource:
    """A context manager in terms of :meth:`_enter` and :meth:`_leave`."""

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(f"{self!r} needs asyncio: no event loop of it runs here") from None
        await self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave(error)

    async def _enter(self) -> None:
        """Begin, where that was not done when the object was made."""

    async def _leave(self, error: BaseException | None) -> None:
        """End it; ``error`` is what the block raised."""
        raise NotImplementedError
