"""The block layer of a QEMU that is not ours, over nothing but a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import Backup, BlockLayer, Image, Qmp, StorageDaemon
from qemu_blocksdk.aio import AsyncBlockLayer
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import ConnectionLost
from tests.live.helpers import MakeImage


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Path]:
    """A storage daemon that somebody else runs, by its monitor."""
    path = tmp_path / "monitor"
    with StorageDaemon(monitors=[path]):
        yield path


def test_a_bare_connection_has_the_verbs_of_the_block_layer(monitor: Path) -> None:
    with BlockLayer.attach(monitor) as layer:
        node = layer.add_node(NullCo(node_name="disk", size=1 << 20))
        target = layer.add_node(NullCo(node_name="target", size=1 << 20))
        node.add_bitmap("since")
        assert node.backup(target).outcome == "completed"
        assert {each.name for each in layer.graph().nodes} == {"disk", "target"}
        assert list(layer.query_bitmaps()) == ["disk"]
        assert repr(layer) == "<BlockLayer: attached>"
    assert repr(layer) == "<BlockLayer: detached>"
    with BlockLayer.attach(monitor) as layer:
        assert layer.node("disk").query_info().node_name == "disk"


def test_a_connection_that_is_given_stays_open(monitor: Path) -> None:
    with Qmp.connect(monitor) as qmp:
        with BlockLayer(qmp) as layer:
            layer.add_node(NullCo(node_name="disk", size=1 << 20))
            layer.start_nbd_server()
        assert qmp.is_connected
        assert layer.query_jobs() == []


def test_a_backup_runs_over_a_bare_connection(
    monitor: Path, tmp_path: Path, make_image: MakeImage
) -> None:
    disk = make_image("disk.qcow2", write="-P 1 0 64k")
    copy = Image(tmp_path / "copy.qcow2", format="qcow2")
    with BlockLayer.attach(monitor) as layer:
        node = layer.add_chain(Image(disk, format="qcow2").chain_options("disk"))
        backup = Backup(layer)
        backup.add_disk(node, copy)
        backup.full()
    assert Image(disk, format="qcow2").compare(copy, force_share=True).is_equal


def test_nobody_at_the_address_is_said(tmp_path: Path) -> None:
    async def attach() -> None:
        with pytest.raises(ConnectionLost):
            await AsyncBlockLayer.attach(tmp_path / "nobody")

    asyncio.run(attach())
