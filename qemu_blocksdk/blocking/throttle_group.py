# Generated from objects/throttle_group.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.throttle_group.AsyncThrottleGroup`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.objects.throttle_group import AsyncThrottleGroup
    from qemu_blocksdk.wire import ThrottleLimits


class ThrottleGroup(SyncProxy):
    """A throttle group, which :class:`~qemu_blocksdk.blockdev.Throttle` nodes name.

    Got from ``qemu.add_throttle_group()`` or ``qemu.throttle_group()``; leaving the block
    removes it. A verb that comes when it was removed raises StateError.
    """

    @property
    def _async(self) -> AsyncThrottleGroup:
        return cast("AsyncThrottleGroup", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    @property
    def id(self) -> str:
        """The id in QEMU."""
        return self._async.id

    def remove(self) -> None:
        """Remove it (``object-del``). Raises CommandError when it is in use or not there."""
        return background_loop.run(self._async.remove())

    def query_limits(self) -> ThrottleLimits:
        """Return the limits (``qom-get``), 0 for none."""
        return background_loop.run(self._async.query_limits())

    def set_limits(self, limits: ThrottleLimits) -> None:
        """Change limits (``qom-set``); those that are absent stay, 0 takes one away.

        ``bps_*`` are bytes a second, ``iops_*`` requests a second, ``*_length`` seconds.
        Raises CommandError for limits that contradict each other.
        """
        return background_loop.run(self._async.set_limits(limits))
