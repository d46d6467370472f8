"""A guest device: unplugged with the guest's consent; as a disk, its statistics and limits."""

from __future__ import annotations

from collections.abc import Sequence

from qemu_blocksdk.codec import decode, encode
from qemu_blocksdk.errors import GraphError, UnplugRefused, UsageError
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.wire import (
    BlockDeviceStats,
    BlockInfo,
    BlockLatencyHistogramSet,
    BlockSetIoThrottle,
    DeviceDel,
    DeviceDeleted,
    DeviceUnplugGuestError,
    QueryBlock,
    QueryBlockstats,
    ThrottleLimits,
)

from ._base import subject
from .hotplug import Hotplugged

_THROTTLE_WORDS = {
    name: name.replace("_total", "").replace("_read", "_rd").replace("_write", "_wr")
    for name in ThrottleLimits.__annotations__
}
"""``block_set_io_throttle`` and ``query-block`` have other words than throttle groups."""


@sealed_class
class AsyncDevice(Hotplugged):
    """A device of the guest, by its id; leaving the block removes it.

    Got from ``vm.add_device()``, ``vm.plug()`` or ``vm.device()``. A verb that comes when it
    was removed raises StateError.
    """

    async def remove(self, *, timeout: float = 10.0) -> None:
        """Unplug the device (``device_del``) and wait until it is gone (``DEVICE_DELETED``).

        A SCSI disk goes at once; for a PCI device the guest has to agree, which one without
        an operating system does not. Raises DeadlineExceeded when it has not done so within
        ``timeout`` seconds (it may still do so later), UnplugRefused when it said no,
        CommandError when the device cannot be unplugged, is being so, or is not there.
        """
        consent = f"the removal of {subject(self)}, for which the guest has to cooperate,"
        async with within(timeout, consent):
            await self._remove()

    async def _remove(self) -> None:
        events = self._qmp.events(DeviceDeleted.where(device=self._id))
        async with events.also(DeviceUnplugGuestError.where(device=self._id)):
            await self._execute(DeviceDel(id=self._id))
            event = await events.get()
        if isinstance(event, DeviceUnplugGuestError):
            raise UnplugRefused(self._id)
        self._is_removed = True

    # -- as a disk ------------------------------------------------------------------------

    async def query_block(self) -> BlockInfo:
        """Return what QEMU knows of the disk and what is in it (``query-block``).

        Raises GraphError when the device is no disk or is not there.
        """
        for info in await self._execute(QueryBlock()):
            if self._has(info.qdev):
                return info
        raise self._no_disk()

    async def query_stats(self) -> BlockDeviceStats:
        """Return what the guest has read and written (``query-blockstats``).

        Raises as :meth:`query_block`.
        """
        for stats in await self._execute(QueryBlockstats()):
            if self._has(stats.qdev):
                return stats.stats
        raise self._no_disk()

    async def set_latency_histogram(
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
        # QEMU 10.0: takes boundaries_zap alone for none at all, so we refuse it.
        rest = (boundaries, boundaries_read, boundaries_write, boundaries_flush)
        if boundaries_zap is not None and rest == (None, None, None, None):
            raise UsageError("boundaries_zap needs boundaries of other requests beside it")
        command = BlockLatencyHistogramSet(
            id=await self._disk(),
            boundaries=boundaries,
            boundaries_read=boundaries_read,
            boundaries_write=boundaries_write,
            boundaries_flush=boundaries_flush,
            boundaries_zap=boundaries_zap,
        )
        await self._execute(command)

    async def set_io_throttle(self, limits: ThrottleLimits, *, group: str | None = None) -> None:
        """Limit the disk's I/O (``block_set_io_throttle``); what is absent is not limited.

        ``bps_*`` are bytes a second, ``iops_*`` requests a second, ``*_length`` seconds. Disks
        of one ``group``, by default the device's own, share its limits, the last set. Raises
        CommandError for limits that contradict each other, and as :meth:`query_block`.
        """
        disk = await self._disk()
        given = {_THROTTLE_WORDS[name.replace("-", "_")]: n for name, n in encode(limits).items()}
        required = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
        named = {"id": disk} if group is None else {"id": disk, "group": group}
        await self._execute(decode(BlockSetIoThrottle, {**required, **given, **named}))

    async def query_io_throttle(self) -> ThrottleLimits:
        """Return the disk's limits (``query-block``), 0 for none. Raises as :meth:`query_block`."""
        medium = (await self.query_block()).inserted
        limits = {
            name.replace("_", "-"): getattr(medium, word, None)
            for name, word in _THROTTLE_WORDS.items()
        }
        return decode(ThrottleLimits, {k: n for k, n in limits.items() if n is not None})

    async def _disk(self) -> str:
        # QEMU 7.2: the id of a virtio-blk-pci is not that of a disk, so we ask for the disk's.
        return (await self.query_block()).qdev or self._id

    def _has(self, qdev: str | None) -> bool:
        # The disk of a virtio-blk-pci is its child, /machine/peripheral/ID/virtio-backend.
        return qdev == self._id or f"{qdev}/".startswith(f"/machine/peripheral/{self._id}/")

    def _no_disk(self) -> GraphError:
        return GraphError(f"the disk of {subject(self)}", found="none")

    def __repr__(self) -> str:
        return self._text("device")
