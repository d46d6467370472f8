"""A guest that refuses to let a device go: no guest without an operating system does that."""

from __future__ import annotations

import asyncio

import pytest

from qemu_blocksdk.aio import AsyncDevice, AsyncQmp
from qemu_blocksdk.errors import UnplugRefused
from tests.unit.qmp.fake_server import Server, event


def test_the_refusal_of_the_guest_is_an_error_of_its_own_and_the_device_stays() -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        assert request["execute"] == "device_del"
        for device in ("another", "dimm0"):
            path = f"/machine/peripheral/{device}"
            server.send(event("DEVICE_UNPLUG_GUEST_ERROR", {"device": device, "path": path}))
        return {}

    async def scenario(server: Server) -> None:
        connecting = AsyncQmp._connect(server.client, timeout=5, command_timeout=5, kind="system")
        async with await connecting as qmp:
            device = AsyncDevice(qmp, "dimm0")
            for _ in range(2):
                with pytest.raises(UnplugRefused) as caught:
                    await device.remove(timeout=5)
                assert str(caught.value) == "the guest refused to let device 'dimm0' go"
            assert repr(device) == "<device 'dimm0'>"

    with Server(answer) as server:
        asyncio.run(scenario(server))
