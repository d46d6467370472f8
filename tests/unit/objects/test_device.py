"""A guest that refuses to let a device go: no guest without an operating system does that."""

from __future__ import annotations

import pytest

from qemu_blocksdk import VM
from qemu_blocksdk.errors import UnplugRefused
from qemu_blocksdk.testing import ReplayServer, expect
from qemu_blocksdk.wire import DeviceDel, DeviceUnplugGuestError


def test_the_refusal_of_the_guest_is_an_error_of_its_own_and_the_device_stays() -> None:
    refusals = [
        DeviceUnplugGuestError(device=device, path=f"/machine/peripheral/{device}")
        for device in ("another", "dimm0")
    ]
    refused = expect(DeviceDel(id="dimm0")).returns(None, events=refusals)
    with ReplayServer([refused] * 2) as server, VM.attach(server.address) as vm:
        device = vm.device("dimm0")
        for _ in range(2):
            with pytest.raises(UnplugRefused) as caught:
                device.remove(timeout=5)
            assert str(caught.value) == "the guest refused to let device 'dimm0' go"
        assert repr(device) == "<device 'dimm0'>"
