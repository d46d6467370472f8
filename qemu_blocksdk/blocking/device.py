# Generated from objects/device.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.device.AsyncDevice`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.objects.device import AsyncDevice
    from qemu_blocksdk.wire import BlockDeviceStats, BlockInfo, ThrottleLimits


class Device(SyncProxy):
    """A device of the guest, by its id; leaving the block removes it.

    Got from ``vm.add_device()``, ``vm.plug()`` or ``vm.device()``. A verb that comes when it
    was removed raises StateError.
    """

    @property
    def _async(self) -> AsyncDevice:
        return cast("AsyncDevice", self._reach())

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

    def remove(self, *, timeout: float = 10.0) -> None:
        """Unplug the device (``device_del``) and wait until it is gone (``DEVICE_DELETED``).

        A SCSI disk goes at once; for a PCI device the guest has to agree, which one without
        an operating system does not. Raises DeadlineExceeded when it has not done so within
        ``timeout`` seconds (it may still do so later), UnplugRefused when it said no,
        CommandError when the device cannot be unplugged, is being so, or is not there.
        """
        return background_loop.run(self._async.remove(timeout=timeout))

    def query_block(self) -> BlockInfo:
        """Return what QEMU knows of the disk and what is in it (``query-block``).

        Raises GraphError when the device is no disk or is not there.
        """
        return background_loop.run(self._async.query_block())

    def query_stats(self) -> BlockDeviceStats:
        """Return what the guest has read and written (``query-blockstats``).

        Raises as :meth:`query_block`.
        """
        return background_loop.run(self._async.query_stats())

    def set_latency_histogram(
        self,
        boundaries: Sequence[int] | None = None,
        *,
        boundaries_read: Sequence[int] | None = None,
        boundaries_write: Sequence[int] | None = None,
        boundaries_flush: Sequence[int] | None = None,
        boundaries_zap: Sequence[int] | None = None,
    ) -> None:
        """Count the disk's requests by how long they take (``block-latency-histogram-set``).

        ``boundaries``, rising and in nanoseconds, are for all kinds of requests that have none
        of their own (``boundaries_zap``, of zone appends, is from QEMU 8.1 and never alone);
        with none at all, no more is counted. :meth:`query_stats` has the counts, which begin
        anew.
        """
        work = self._async.set_latency_histogram(
            boundaries,
            boundaries_read=boundaries_read,
            boundaries_write=boundaries_write,
            boundaries_flush=boundaries_flush,
            boundaries_zap=boundaries_zap,
        )
        return background_loop.run(work)

    def set_io_throttle(self, limits: ThrottleLimits, *, group: str | None = None) -> None:
        """Limit the disk's I/O (``block_set_io_throttle``); what is absent is not limited.

        ``bps_*`` are bytes a second, ``iops_*`` requests a second, ``*_length`` seconds. Disks
        of one ``group``, by default the device's own, share its limits, the last set. Raises
        CommandError for limits that contradict each other, and as :meth:`query_block`.
        """
        return background_loop.run(self._async.set_io_throttle(limits, group=group))

    def query_io_throttle(self) -> ThrottleLimits:
        """Return the disk's limits (``query-block``), 0 for none. Raises as :meth:`query_block`."""
        return background_loop.run(self._async.query_io_throttle())
