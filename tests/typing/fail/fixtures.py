"""Fixtures of the pytest plugin that are asked for what they do not make."""

from __future__ import annotations

from qemu_blocksdk import Image
from qemu_blocksdk.testing import AsyncVmFactory, ImageFactory, NodeFactory, StorageDaemonFactory, VmFactory


def wrong(
    image: ImageFactory,
    add_image: NodeFactory,
    vm_factory: VmFactory,
    storage_daemon_factory: StorageDaemonFactory,
    disk: Image,
) -> None:
    image("disk", "64M", None)  # error: Too many positional arguments
    image("disk", 1.5)  # error: Argument 2 to "__call__" of "ImageFactory" has incompatible type "float"
    image("disk", format="qcow3")  # error: Argument "format" to "__call__" of "ImageFactory" has incompatible type
    vm_factory(program="qemu")  # error: Unexpected keyword argument "program"
    vm_factory(accelerator="xen")  # error: Argument "accelerator" to "__call__" of "VmFactory" has incompatible type
    storage_daemon_factory(machine="q35")  # error: Unexpected keyword argument "machine"
    add_image(vm_factory(), disk)  # error: Missing named argument "node_name"


async def wrong_twins(async_vm: AsyncVmFactory) -> None:
    with async_vm():  # error: "AbstractAsyncContextManager[AsyncVM, bool | None]" has no attribute
        pass
