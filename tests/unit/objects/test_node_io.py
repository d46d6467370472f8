"""Requests through a monitor whose QEMU is not ours."""

from __future__ import annotations

import pytest

from qemu_blocksdk import Node, Qmp
from qemu_blocksdk.aio import AsyncNode
from qemu_blocksdk.errors import Unsupported
from tests.unit.qmp.fake_server import Server


def _answer(server: Server, request: dict[str, object]) -> object:
    return ""


def test_what_a_qemu_prints_that_is_not_ours_cannot_be_read() -> None:
    with Server(_answer) as server, Qmp.connect(server.client) as qmp:
        node = Node._of(AsyncNode(qmp._aio, "n"))
        for ask in (node.io.flush, lambda: node.qemu_io("length")):
            with pytest.raises(Unsupported, match=r"^node 'n': .*somebody else started it"):
                ask()
    assert "human-monitor-command" not in server.commands
