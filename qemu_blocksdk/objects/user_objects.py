"""Adding user objects to a running QEMU: any, throttle groups, I/O threads."""

from __future__ import annotations

from typing import cast

from qemu_blocksdk.codec import Struct
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import (
    ObjectAdd,
    ObjectDel,
    ObjectOptions,
    ObjectOptionsIothread,
    ObjectOptionsThrottleGroup,
    ThrottleLimits,
)

from .iothread import AsyncIoThread, IoThreadParameters
from .live import Live
from .throttle_group import AsyncThrottleGroup


class UserObjects(Live):
    """What a QEMU's block layer refers to by an id."""

    async def add_object(self, options: ObjectOptions) -> None:
        """Add any object of QEMU's object model (``object-add``).

        Raises CommandError when the id is taken or QEMU refuses, Unsupported for a type that
        it does not have.
        """
        if not isinstance(cast("object", options), Struct):
            raise UsageError(f"{options!r} is none of the classes of qemu_blocksdk.wire")
        await self._execute(ObjectAdd(options=options))

    async def delete_object(self, id: str) -> None:
        """Remove an object (``object-del``). Raises CommandError when it is in use or gone."""
        await self._execute(ObjectDel(id=id))

    async def add_throttle_group(
        self, id: str, *, limits: ThrottleLimits | None = None
    ) -> AsyncThrottleGroup:
        """Add a throttle group (``object-add``); what ``limits`` leave out is not limited.

        See :meth:`AsyncThrottleGroup.set_limits` for their units. Raises CommandError when
        the id is taken, or the limits contradict each other.
        """
        options = ObjectOptionsThrottleGroup(id=id, limits=limits)
        return await self.throttle_group(id)._begin(self.add_object(options))

    def throttle_group(self, id: str) -> AsyncThrottleGroup:
        """Return the object of a throttle group that QEMU has; QEMU is not asked."""
        return AsyncThrottleGroup(self._connection(), id)

    async def add_iothread(
        self, id: str, *, parameters: IoThreadParameters | None = None
    ) -> AsyncIoThread:
        """Add an I/O thread (``object-add``).

        Raises CommandError when the id is taken, or a parameter out of range.
        """
        given = parameters or IoThreadParameters()
        options = ObjectOptionsIothread(
            id=id,
            poll_max_ns=given.poll_max_ns,
            poll_grow=given.poll_grow,
            poll_shrink=given.poll_shrink,
            aio_max_batch=given.aio_max_batch,
        )
        return await self.iothread(id)._begin(self.add_object(options))

    def iothread(self, id: str) -> AsyncIoThread:
        """Return the object of an I/O thread that QEMU has; QEMU is not asked."""
        return AsyncIoThread(self._connection(), id)
