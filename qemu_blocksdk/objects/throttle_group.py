"""Throttle groups: limits of I/O that the ``Throttle`` nodes of a group share."""

from __future__ import annotations

from qemu_blocksdk.codec import decode, encode
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import ThrottleLimits

from .user_object import UserObject


@sealed_class
class AsyncThrottleGroup(UserObject):
    """A throttle group, which :class:`~qemu_blocksdk.blockdev.Throttle` nodes name.

    Got from ``qemu.add_throttle_group()`` or ``qemu.throttle_group()``; leaving the block
    removes it. A verb that comes when it was removed raises StateError.
    """

    async def query_limits(self) -> ThrottleLimits:
        """Return the limits (``qom-get``), 0 for none."""
        return decode(ThrottleLimits, await self._get("limits"))

    async def set_limits(self, limits: ThrottleLimits) -> None:
        """Change limits (``qom-set``); those that are absent stay, 0 takes one away.

        ``bps_*`` are bytes a second, ``iops_*`` requests a second, ``*_length`` seconds.
        Raises CommandError for limits that contradict each other.
        """
        await self._set("limits", encode(limits))

    def __repr__(self) -> str:
        return self._text("throttle group")
