"""I/O threads: event loops of their own for devices, exports and nodes."""

from __future__ import annotations

from typing import cast

from qemu_blocksdk.codec import Value
from qemu_blocksdk.errors import GraphError
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import IOThreadInfo, QueryIothreads

from ._base import subject
from .user_object import UserObject


class IoThreadParameters(Value):
    """How an I/O thread polls before it sleeps; what is absent is QEMU's to choose.

    It polls for ``poll_max_ns`` nanoseconds at the most, 0 for not at all; ``poll_grow``
    and ``poll_shrink`` are the factors of adapting that. ``aio_max_batch`` requests are
    submitted at a time.
    """

    poll_max_ns: int | None = None
    poll_grow: int | None = None
    poll_shrink: int | None = None
    aio_max_batch: int | None = None


@sealed_class
class AsyncIoThread(UserObject):
    """An I/O thread, which devices and exports name and nodes are moved into.

    Got from ``qemu.add_iothread()`` or ``qemu.iothread()``; leaving the block removes it. A
    verb that comes when it was removed raises StateError.
    """

    async def query_info(self) -> IOThreadInfo:
        """Return what QEMU knows of it, as its thread's id (``query-iothreads``).

        Raises GraphError when it is not there, Unsupported in a storage daemon.
        """
        for info in await self._execute(QueryIothreads()):
            if info.id == self._id:
                return info
        raise GraphError(subject(self), found="none")

    async def query_parameters(self) -> IoThreadParameters:
        """Return the parameters (``qom-get``). Raises CommandError when it is not there."""
        return IoThreadParameters(
            poll_max_ns=await self._number("poll-max-ns"),
            poll_grow=await self._number("poll-grow"),
            poll_shrink=await self._number("poll-shrink"),
            aio_max_batch=await self._number("aio-max-batch"),
        )

    async def _number(self, property: str) -> int:
        return cast("int", await self._get(property))

    async def set_parameters(self, parameters: IoThreadParameters) -> None:
        """Change parameters (``qom-set``), one after the other; those that are absent stay.

        Raises CommandError for a value out of range; those before it are set then.
        """
        for name in IoThreadParameters.__annotations__:
            value = getattr(parameters, name)
            if value is not None:
                await self._set(name.replace("_", "-"), value)

    def __repr__(self) -> str:
        return self._text("I/O thread")
