"""The fixtures of the pytest plugin, as tests annotate them."""

from __future__ import annotations

from typing import assert_type

from qemu_blocksdk import VM, Image, NbdServer, Node, StorageDaemon
from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer, AsyncNode, AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.testing import (
    AsyncImageFactory,
    AsyncNbdServerFactory,
    AsyncNodeFactory,
    AsyncStorageDaemonFactory,
    AsyncVmFactory,
    ImageFactory,
    NbdServerFactory,
    NodeFactory,
    QmpLog,
    StorageDaemonFactory,
    TestEnv,
    VmFactory,
)
from qemu_blocksdk.testing.images import AsyncImages, Images
from qemu_blocksdk.testing.machines import Machines
from qemu_blocksdk.tools import CreateQcow2


def what_is_made(
    image: ImageFactory,
    add_image: NodeFactory,
    vm_factory: VmFactory,
    storage_daemon_factory: StorageDaemonFactory,
    nbd_server: NbdServerFactory,
    qmp_log: QmpLog,
) -> None:
    disk = image("disk", "64M", options=CreateQcow2(lazy_refcounts=True))
    assert_type(image("overlay", backing=disk, format="qcow2"), Image)
    vm = vm_factory(machine="q35", args=("-S",), on_message=print)
    assert_type(vm, VM)
    assert_type(storage_daemon_factory(launch_timeout=5.0), StorageDaemon)
    assert_type(add_image(vm, disk, node_name="disk"), Node)
    assert_type(nbd_server(disk, shared=2, address=("localhost", 0)), NbdServer)
    assert_type(qmp_log.text(), str)


async def twins(async_vm: AsyncVmFactory, async_storage_daemon: AsyncStorageDaemonFactory) -> None:
    async with async_vm(accelerator="tcg") as vm, async_storage_daemon() as daemon:
        assert_type(vm, AsyncVM)
        assert_type(daemon, AsyncStorageDaemon)


async def images_of_coroutines(
    async_vm: AsyncVmFactory,
    async_image: AsyncImageFactory,
    async_add_image: AsyncNodeFactory,
    async_nbd_server: AsyncNbdServerFactory,
) -> None:
    disk = await async_image("disk", "64M")
    assert_type(await async_image("overlay", backing=disk), AsyncImage)
    async with async_vm() as vm, async_nbd_server(disk) as server:
        assert_type(server, AsyncNbdServer)
        assert_type(await async_add_image(vm, disk, node_name="disk"), AsyncNode)


def what_makes_them(
    env: TestEnv, machines: Machines
) -> tuple[ImageFactory, NodeFactory, VmFactory, StorageDaemonFactory, NbdServerFactory]:
    images = Images(env)
    daemon = machines.storage_daemon
    return images.create, images.add, machines.vm, daemon, machines.nbd_server


def what_makes_the_twins(
    machines: Machines,
) -> tuple[AsyncVmFactory, AsyncStorageDaemonFactory, AsyncNbdServerFactory]:
    return machines.async_vm, machines.async_storage_daemon, machines.async_nbd_server


def what_makes_their_images(env: TestEnv) -> tuple[AsyncImageFactory, AsyncNodeFactory]:
    images = AsyncImages(env)
    return images.create, images.add
