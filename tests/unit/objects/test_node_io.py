"""Requests through a monitor whose QEMU is not ours."""

from __future__ import annotations

import pytest

from qemu_blocksdk import VM
from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.testing import ReplayServer


def test_what_a_qemu_prints_that_is_not_ours_cannot_be_read() -> None:
    with ReplayServer([]) as server, VM.attach(server.address) as vm:
        node = vm.node("n")
        for ask in (node.io.flush, lambda: node.qemu_io("length")):
            with pytest.raises(Unsupported, match=r"^node 'n': .*somebody else started it"):
                ask()
