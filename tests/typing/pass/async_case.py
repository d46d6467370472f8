"""A case of unittest for coroutines: its objects are the awaitable ones."""

from __future__ import annotations

from typing import assert_type

from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer, AsyncNode, AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.testing import AsyncQMPTestCase, Golden, TestEnv


class TestDisk(AsyncQMPTestCase):
    async def test_disk(self) -> None:
        vm = await self.launch_vm(machine="pc")
        assert_type(vm, AsyncVM)
        assert_type(await self.launch_storage_daemon(exports=[]), AsyncStorageDaemon)
        disk = await self.images.create("disk", "64M")
        assert_type(disk, AsyncImage)
        assert_type(await self.images.add(vm, disk, node_name="disk"), AsyncNode)
        assert_type(await self.launch_nbd_server(disk, shared=2), AsyncNbdServer)
        assert_type(self.env, TestEnv)
        assert_type(self.golden, Golden)
        self.assert_qmp({"return": {}}, "return", {})
