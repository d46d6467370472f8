"""Base class of async context managers."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from qemu_blocksdk.errors import UsageError


class AsyncResource:
    """A context manager made of :meth:`_enter` and :meth:`_leave`."""

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
        """Start the resource; does nothing where the constructor has done that."""

    async def _leave(self, error: BaseException | None) -> None:
        """End the resource; ``error`` is the exception that the block raised, if any."""
        raise NotImplementedError
