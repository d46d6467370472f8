"""Plugging guest devices into a running VM, and a block node under a virtual disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.errors import CommandError, Unsupported, UsageError
from qemu_blocksdk.wire import DeviceAdd, QomGet, QomList, QomListTypes

from .device import AsyncDevice
from .iothread import AsyncIoThread
from .live import Live
from .names import lasting_name
from .node import AsyncNode

VirtioDisk = Literal["virtio-blk", "virtio-scsi"]
"""How a disk is offered to the guest: as a device of its own, or on a SCSI controller."""

_NAMED = "/machine/peripheral"


class Devices(Live):
    """The devices of a VM's guest."""

    async def add_device(
        self,
        driver: str,
        *,
        id: str | None = None,
        bus: str | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> AsyncDevice:
        """Plug a device (``device_add``); ``properties`` are the driver's, under QEMU's names.

        Without an ``id`` it gets one of its own. Raises CommandError when the id is taken, or
        there is no such driver, bus or property.
        """
        id = id or lasting_name(self._connection(), "device")
        command = DeviceAdd(driver=driver, id=id, bus=bus, properties=properties)
        return await self.device(id)._begin(self._execute(command))

    def device(self, id: str) -> AsyncDevice:
        """Return the object of a device that the guest has; QEMU is not asked."""
        return AsyncDevice(self._connection(), id)

    async def query_devices(self) -> dict[str, str]:
        """Return the driver of each device that has an id, by the id (``qom-list``)."""
        return dict(await self._children(_NAMED))

    async def query_virtio_driver(self, disk: VirtioDisk) -> str:
        """Return the driver that this kind of machine has for it: ``virtio-scsi-pci``, ...

        Asks for the types that the binary has (``qom-list-types``). Raises Unsupported when
        there is none.
        """
        # An s390x machine has PCI too, but ccw is its own bus.
        for transport in ("ccw", "pci"):
            if await self._execute(QomListTypes(implements=f"{disk}-{transport}")):
                return f"{disk}-{transport}"
        raise Unsupported(f"device {disk!r}")

    async def plug(
        self,
        node: AsyncNode,
        *,
        device: VirtioDisk = "virtio-blk",
        id: str | None = None,
        bus: str | None = None,
        serial: str | None = None,
        share_rw: bool = False,
        iothread: AsyncIoThread | None = None,
        properties: Mapping[str, JsonValue] | None = None,
    ) -> AsyncDevice:
        """Give the guest a disk whose content is ``node`` (``device_add``).

        It is read-only where the node is. With ``share_rw`` others may write to the node
        too. A ``virtio-scsi`` disk comes on ``bus``, else on a controller that the guest has
        (with that ``iothread``, if given), else on a new one, which stays. Raises as
        :meth:`add_device`; UsageError for a ``bus`` and an ``iothread`` of a SCSI disk, for
        the bus has its own.
        """
        given: dict[str, JsonValue] = {"drive": node.name, "share-rw": share_rw}
        if serial is not None:
            given["serial"] = serial
        if device == "virtio-scsi":
            driver = "scsi-hd"
            if bus is None:
                bus = await self._scsi_bus(iothread)
            elif iothread is not None:
                raise UsageError(f"a disk on bus {bus!r} is in the I/O thread of its controller")
        else:
            driver = await self.query_virtio_driver(device)
            given |= _in_thread(iothread)
        return await self.add_device(
            driver, id=id, bus=bus, properties={**given, **(properties or {})}
        )

    async def _scsi_bus(self, iothread: AsyncIoThread | None) -> str:
        """Return the bus of a virtio-scsi controller, which is added when there is none."""
        found = await self._find_scsi_bus(iothread)
        if found is not None:
            return found
        id = "virtio-scsi" if iothread is None else f"virtio-scsi-{iothread.id}"
        driver = await self.query_virtio_driver("virtio-scsi")
        try:
            await self.add_device(driver, id=id, properties=_in_thread(iothread))
        except CommandError:
            found = await self._find_scsi_bus(iothread)  # somebody else was faster
            if found is None:
                raise
            return found
        return f"{id}.0"

    async def _find_scsi_bus(self, iothread: AsyncIoThread | None) -> str | None:
        for place in (_NAMED, f"{_NAMED}-anon"):
            for name, driver in (await self._children(place)).items():
                if not driver.startswith("virtio-scsi-"):
                    continue
                path = f"{place}/{name}"
                if iothread is not None:
                    thread = await self._execute(QomGet(path=path, property="iothread"))
                    if thread != f"/objects/{iothread.id}":
                        continue
                for bus, kind in (await self._children(f"{path}/virtio-backend")).items():
                    if kind == "SCSI":
                        return bus
        return None

    async def _children(self, path: str) -> dict[str, str]:
        """The type of each child of an object of QEMU's, by name."""
        members = await self._execute(QomList(path=path))
        return {
            member.name: member.type.removeprefix("child<").removesuffix(">")
            for member in members
            if member.type.startswith("child<")
        }


def _in_thread(iothread: AsyncIoThread | None) -> dict[str, JsonValue]:
    return {} if iothread is None else {"iothread": iothread.id}
