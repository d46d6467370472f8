"""Adding throttle groups and I/O threads to a running QEMU."""

from __future__ import annotations

from qemu_blocksdk.wire import (
    ObjectAdd,
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

    async def add_throttle_group(
        self, id: str, *, limits: ThrottleLimits | None = None
    ) -> AsyncThrottleGroup:
        """Add a throttle group (``object-add``); what ``limits`` leave out is not limited.

        See :meth:`AsyncThrottleGroup.set_limits` for their units. Raises CommandError when
        the id is taken, or the limits contradict each other.
        """
        options = ObjectOptionsThrottleGroup(id=id, limits=limits)
        return await self.throttle_group(id)._begin(self._add_object(options))

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
        return await self.iothread(id)._begin(self._add_object(options))

    def iothread(self, id: str) -> AsyncIoThread:
        """Return the object of an I/O thread that QEMU has; QEMU is not asked."""
        return AsyncIoThread(self._connection(), id)

    async def _add_object(self, options: ObjectOptions) -> None:
        await self._execute(ObjectAdd(options=options))
