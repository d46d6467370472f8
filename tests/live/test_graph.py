"""The navigator on a graph that QEMU has: who is who, what differs, and who is in the way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, CopyOnRead, File, NullCo, Qcow2, Quorum, Raw, Throttle
from qemu_blocksdk.codec import NULL
from qemu_blocksdk.errors import CommandError, ConnectionLost, GraphError
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.objects import graph_query
from qemu_blocksdk.wire import BlockdevOptions, BlockPermission
from tests.live.helpers import MakeImage
from tests.live.nodes import NoUnstableGraph

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


def null(name: str) -> NullCo:
    return NullCo(node_name=name, size=MIB, read_zeroes=True)


@pytest.fixture
def vm() -> Iterator[VM]:
    with VM(args=["-m", "64"]) as running:
        yield running


def test_a_chain_is_navigated_as_qemu_has_it(daemon: StorageDaemon, make_image: MakeImage) -> None:
    base = make_image("base.qcow2")
    top = make_image("top.qcow2", backing=base)
    below = Qcow2(node_name="base", file=File(node_name="base-file", filename=str(base)))
    file = File(node_name="file", filename=str(top))
    daemon.add_node(Qcow2(node_name="disk", file=file, backing=below))

    graph = daemon.graph()
    graph.assert_path("disk", "/backing/file", "base-file")
    graph.assert_path("disk", "/backing/backing", None)
    assert [node.name for node in graph.chain("disk")] == ["disk", "base"]
    assert graph["disk"].child("backing").virtual_size == 16 * MIB
    assert graph["disk"].child("backing").read_only
    assert not graph["disk"].read_only
    assert graph.find(driver="file", filename=base) == (graph["base-file"],)
    assert graph.find(driver="qcow2", filename=base) == (graph["base"],)
    with pytest.raises(GraphError, match="looked for child 'oops' at node 'disk'/backing, found f"):
        graph.resolve("disk", "/backing/oops")


def test_the_children_of_a_quorum_are_numbered(daemon: StorageDaemon) -> None:
    children: list[BlockdevOptions | str] = [null("one"), null("two")]
    daemon.add_node(Quorum(node_name="q", vote_threshold=1, children=children))
    graph = daemon.graph()
    graph.assert_path("q", "/children.1", "two")
    graph.assert_path("q", "/children.2", None)


@pytest.mark.parametrize(
    "over",
    [
        Throttle(node_name="f", throttle_group="group", file="disk"),
        CopyOnRead(node_name="f", file="disk"),
        Blkdebug(node_name="f", image="disk"),
    ],
    ids=lambda options: type(options).__name__,
)
def test_a_chain_goes_through_a_filter(daemon: StorageDaemon, over: BlockdevOptions) -> None:
    daemon.add_throttle_group("group")
    daemon.add_node(null("disk"))
    daemon.add_node(over)
    assert [node.name for node in daemon.graph().chain("f")] == ["f", "disk"]


def test_devices_jobs_and_exports_are_known(vm: VM, tmp_path: Path) -> None:
    other = vm.add_node(null("other"))
    # QEMU 11.1: zeroes are mirrored at once, whatever the speed, so the disk has none.
    disk, copy = (vm.add_node(NullCo(node_name=n, size=64 * MIB)) for n in ("disk", "copy"))
    address = str(tmp_path / "nbd.sock")
    with (
        vm.plug(disk, device="virtio-scsi", id="d0") as _,
        vm.start_nbd_server(address) as server,
        server.export(other, writable=True, id="e0"),
        disk.start_mirror(copy, job_id="m", speed=1, filter_node_name="top"),
    ):
        graph = vm.graph()
        assert str(graph["d0"]) == "device 'd0'"
        assert [node.name for node in graph.chain("d0")] == ["top", "disk"]
        assert [str(edge.parent) for edge in graph["other"].parents] == ["export 'e0'"]
        assert graph["m"].job is not None
        assert (graph["m"].job.type, graph["m"].job.status) == ("mirror", "running")
        assert {edge.name for edge in graph["m"].children} == {"main node", "source", "target"}
        # Whose it is QEMU does not tell: it is the mirror's, which we do not claim.
        users = {str(edge.parent) for edge in graph["copy"].parents}
        assert users == {"job 'm'", "unnamed backend (perhaps of job 'm')"}
        assert graph.common_ancestors("disk", "copy") == (graph["m"],)
        assert "d0 [device]" in graph.draw()


def test_without_the_unstable_command_the_nodes_still_make_a_graph(
    daemon: StorageDaemon, qemu_version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.add_node(Raw(node_name="top", file=null("base")))
    unstable = daemon.graph()
    monkeypatch.setattr(graph_query, "XDebugQueryBlockGraph", NoUnstableGraph)
    stable = daemon.graph()
    assert {str(node) for node in stable.nodes} == {str(node) for node in unstable.nodes}
    assert stable["top"].driver == "raw"
    edge = ("top", "file", "base")
    expected = {edge} if qemu_version >= (10, 1) else set[tuple[str, str, str]]()
    assert {(e.parent.name, e.name, e.child.name) for e in stable.edges} == expected


def test_a_device_of_virtio_blk_is_known_by_its_id() -> None:
    args = ["-m", "64", "-blockdev", "null-co,node-name=disk"]
    with VM(args=[*args, "-device", "virtio-blk,id=d0,drive=disk"]) as vm:
        graph = vm.graph()
        assert graph["d0"].name == "/machine/peripheral/d0/virtio-backend"
        assert graph["d0"].child("root") is graph["disk"]


def test_a_legacy_drive_knows_its_device() -> None:
    args = ["-m", "64", "-drive", "if=none,id=drive0,driver=null-co,read-zeroes=on"]
    with VM(args=[*args, "-device", "virtio-blk,id=d0,drive=drive0"]) as vm:
        graph = vm.graph()
        assert graph["drive0"] is graph["d0"]
        assert graph["d0"].device is not None
        assert graph["d0"].device.device == "drive0"


def test_of_two_exports_of_a_node_none_is_guessed(daemon: StorageDaemon, tmp_path: Path) -> None:
    disk = daemon.add_node(null("disk"))
    with daemon.start_nbd_server(str(tmp_path / "nbd.sock")) as server:
        with server.export(disk, id="e0"), server.export(disk, id="e1", name="again"):
            graph = daemon.graph()
            (said,) = {str(edge.parent) for edge in graph["disk"].parents}
            assert re.fullmatch(r"unnamed backend \(perhaps of export 'e.' or export 'e.'\)", said)
            assert "e0" not in graph
        with server.export(disk, id="e2"):
            assert daemon.graph()["e2"].child("root").name == "disk"


def test_a_difference_tells_of_a_snapshot(daemon: StorageDaemon, make_image: MakeImage) -> None:
    base = make_image("base.qcow2")
    disk = daemon.add_node(Qcow2(node_name="disk", file=File(node_name="f", filename=str(base))))
    top = make_image("top.qcow2", backing=base)
    file = File(node_name="top-file", filename=str(top))
    overlay = daemon.add_node(Qcow2(node_name="top", file=file, backing=NULL))
    before = daemon.graph()
    disk.snapshot(overlay)
    diff = before.diff(daemon.graph())
    assert str(diff).splitlines()[0] == "node 'top' -backing-> node 'disk' was added"
    assert not before.diff(before)
    assert re.search(r"^\+ .─ backing: disk \[qcow2", diff.draw(), re.MULTILINE)


# -- why not ------------------------------------------------------------------------------


def blockers(graph: BlockGraph, name: str, permission: BlockPermission) -> set[str]:
    """Who is in the way, by its name."""
    return {each.parent.names[0] for each in graph.why_blocked(name, permission)}


def refused_by(refusal: str) -> set[str]:
    """Whom QEMU names in its refusal."""
    return set(re.findall(r"unshared by [a-z ]+'([^']*)'", refusal))


@pytest.mark.parametrize("under", ["disk", "throttle", "raw"])
def test_who_is_in_the_way_of_a_writer_is_who_qemu_says(vm: VM, tmp_path: Path, under: str) -> None:
    vm.add_throttle_group("group")
    disk = vm.add_node(null("disk"))
    vm.add_node(Throttle(node_name="throttle", throttle_group="group", file="disk"))
    vm.add_node(Raw(node_name="raw", file="disk"))
    with (
        vm.start_nbd_server(str(tmp_path / "nbd.sock")) as server,
        vm.plug(disk, device="virtio-scsi", id="d0"),
    ):
        graph = vm.graph()
        with pytest.raises(CommandError) as refusal, server.export(vm.node(under), writable=True):
            pass
        assert blockers(graph, under, "write") == refused_by(refusal.value.desc) == {"d0"}
        assert graph.why_blocked(under, "consistent-read") == ()
        with server.export(vm.node(under), writable=False):
            pass  # as it says


def test_where_nobody_is_in_the_way_a_writer_is_let_in(vm: VM, tmp_path: Path) -> None:
    disk = vm.add_node(null("disk"))
    with (
        vm.start_nbd_server(str(tmp_path / "nbd.sock")) as server,
        vm.plug(disk, device="virtio-scsi", id="d0", share_rw=True),
    ):
        assert vm.graph().why_blocked("disk", "write") == ()
        with server.export(disk, writable=True):
            assert blockers(vm.graph(), "disk", "write") == set()


def test_an_export_over_nbd_forbids_to_resize(daemon: StorageDaemon, tmp_path: Path) -> None:
    disk = daemon.add_node(null("disk"))
    with (
        daemon.start_nbd_server(str(tmp_path / "nbd.sock")) as server,
        server.export(disk, id="e0"),
    ):
        (obstacle,) = daemon.graph().why_blocked("disk", "resize")
        assert str(obstacle) == "export 'e0' (uses node 'disk' as 'root') does not share 'resize'"


# -- what is gone ---------------------------------------------------------------------------


def test_a_node_that_is_gone_is_not_mistaken_for_a_device_of_its_name(vm: VM) -> None:
    disk = vm.add_node(null("disk"))
    with vm.plug(disk, device="virtio-scsi", id="d0"):
        with pytest.raises(GraphError, match="looked for node 'd0', found device 'd0'"):
            vm.node("d0").query_children()
        with pytest.raises(GraphError, match="looked for node 'gone'"):
            vm.node("gone").query_parents()


def test_a_picture_outlives_the_connection_and_another_is_refused() -> None:
    with StorageDaemon() as daemon:
        daemon.add_node(null("disk"))
        graph = daemon.graph()
    assert graph["disk"].driver == "null-co"
    with pytest.raises(ConnectionLost):
        daemon.graph()


def test_a_picture_is_awaited() -> None:
    async def pictured() -> BlockGraph:
        async with AsyncStorageDaemon() as daemon:
            await daemon.add_node(null("disk"))
            return await daemon.graph()

    assert asyncio.run(pictured())["disk"].kind == "node"
