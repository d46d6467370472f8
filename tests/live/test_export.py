"""Exports over NBD: what clients see, who is listed, how each of them goes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qemu_blocksdk import (
    VM,
    ExportServer,
    Image,
    NbdServer,
    Node,
    QemuIo,
    Qmp,
    StorageDaemon,
)
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    StateError,
    ToolError,
    Unsupported,
)
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.tools import NbdExport
from qemu_blocksdk.wire import (
    BlockDirtyBitmap,
    BlockExportAdd,
    BlockExportDel,
    BlockExportOptionsNbd,
    NbdServerStart,
    SocketAddressLegacyUnix,
    UnixSocketAddress,
)
from tests.live.helpers import MakeImage

pytestmark = pytest.mark.timeout(30)

SIZE = 1 << 20
DISK = NullCo(node_name="disk", size=SIZE)


@pytest.fixture
def disk(daemon: StorageDaemon) -> Node:
    return daemon.add_node(DISK)


@pytest.fixture
def server(daemon: StorageDaemon, disk: Node) -> Iterator[ExportServer]:
    with daemon.start_nbd_server() as running:
        yield running


def _seen(server: ExportServer) -> dict[str, NbdExport]:
    """What the server tells to clients."""
    assert isinstance(server.address, str)
    found = NbdServer.list_exports(f"nbd+unix:///?socket={server.address}")
    return {export.name: export for export in found}


# -- what is exported -------------------------------------------------------------------


def test_what_is_said_of_an_export_is_what_clients_see(
    daemon: StorageDaemon, server: ExportServer, make_image: MakeImage
) -> None:
    file = File(filename=str(make_image(size="1M")))
    image = daemon.add_node(Qcow2(node_name="image", file=file))
    bitmaps = [image.bitmap(name) for name in ("object", "name", "pair")]
    for bitmap in bitmaps:
        bitmap.add()
    export = server.export(
        image,
        name="a/b ü",
        description="two\nlines",
        bitmaps=[bitmaps[0], "name", BlockDirtyBitmap(node="image", name="pair")],
        allocation_depth=True,
        writable=True,
        writethrough=True,
        id="mine",
    )
    assert (export.id, export.kind, export.node.name) == ("mine", "nbd", "image")
    assert repr(export) == f"<nbd export 'mine' of 'image' at {export.uri}>"
    seen = _seen(server)["a/b ü"]
    assert (seen.description, seen.size, seen.is_read_only) == ("two\nlines", SIZE, False)
    contexts = {f"qemu:dirty-bitmap:{name}" for name in ("object", "name", "pair")}
    assert {*seen.meta_contexts} == {"base:allocation", "qemu:allocation-depth", *contexts}
    export.write(0, 512, pattern=7)
    assert all(bitmap.query_info().count for bitmap in bitmaps)


def test_an_export_is_read_only_unless_told(server: ExportServer, disk: Node) -> None:
    export = server.export(disk)
    assert _seen(server)["disk"].is_read_only
    assert _seen(server)["disk"].meta_contexts == ("base:allocation",)
    with pytest.raises(ToolError):
        export.write(0, 512)


def test_the_export_without_a_name_is_the_default(server: ExportServer, disk: Node) -> None:
    assert str(server.export(disk, name="").uri).startswith("nbd+unix:///?socket=")
    assert [*_seen(server)] == [""]


def test_an_export_moves_its_node_to_an_io_thread() -> None:
    with StorageDaemon(args=("--object", "iothread,id=io0")) as daemon:
        node = daemon.add_node(DISK)
        with daemon.start_nbd_server() as server:
            with server.export(node, iothread="io0", fixed_iothread=True):
                assert _seen(server)["disk"].size == SIZE
            with pytest.raises(CommandError, match='iothread "nowhere" not found'):
                server.export(node, iothread="nowhere")


def test_an_inactive_node_is_exported_where_qemu_can(
    server: ExportServer, disk: Node, qemu_version: tuple[int, int]
) -> None:
    if qemu_version < (10, 0):
        with pytest.raises(Unsupported, match="allow-inactive"):
            server.export(disk, allow_inactive=True)
    else:
        assert server.export(disk, allow_inactive=True).query_info().node_name == "disk"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "taken"}, "already has export named 'taken'"),
        ({"id": "taken"}, "'taken' is already in use"),
        ({"id": ""}, "Invalid block export id"),
        ({"id": "no id!"}, "Invalid block export id"),
        ({"name": "x" * 5000}, "too long"),
        ({"description": "x" * 5000}, "too long"),
        ({"bitmaps": ["nowhere"]}, "'nowhere' is not found"),
        ({"bitmaps": [BlockDirtyBitmap(node="nowhere", name="b")]}, "nowhere"),
    ],
    ids=["name", "id", "no-id", "bad-id", "long-name", "long-text", "bitmap", "bitmap-node"],
)
def test_what_qemu_refuses_is_told_of_the_server(
    server: ExportServer, disk: Node, change: dict[str, object], match: str
) -> None:
    server.export(disk, name="taken", id="taken")
    with pytest.raises(CommandError, match=match) as caught:
        server.export(disk, **change)  # type: ignore[arg-type]  # each is one of the parameters
    assert str(caught.value).startswith("NBD server at ")
    assert [*_seen(server)] == ["taken"]


def test_a_bitmap_that_records_is_not_offered_read_only_by_its_name_alone(
    daemon: StorageDaemon, server: ExportServer, make_image: MakeImage
) -> None:
    file = File(filename=str(make_image(size="1M")))
    image = daemon.add_node(Qcow2(node_name="image", file=file))
    bitmap = image.bitmap("b")
    bitmap.add()
    with pytest.raises(CommandError, match="Enabled bitmap 'b' incompatible"):
        server.export(image, bitmaps=["b"])
    for again in (bitmap, "b"):
        with server.export(image, bitmaps=[again]):
            assert bitmap.query_info().busy
            with pytest.raises(CommandError, match="'b' is currently in use"):
                server.export(image, name="second", bitmaps=[again])
        assert not bitmap.query_info().busy
        bitmap.disable()


def test_a_node_that_is_gone_is_not_exported(server: ExportServer, disk: Node) -> None:
    disk.delete()
    with pytest.raises(CommandError, match="nor node-name='disk'"):
        server.export(disk)


# -- who is there -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StorageDaemon, VM])
def test_exports_of_others_are_listed_and_removed(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    with kind() as qemu:
        node = qemu.add_node(DISK)
        address = SocketAddressLegacyUnix(data=UnixSocketAddress(path=str(tmp_path / "sock")))
        qemu.qmp.execute(NbdServerStart(addr=address))
        qemu.qmp.execute(
            BlockExportAdd(options=BlockExportOptionsNbd(id="theirs", node_name="disk"))
        )
        (export,) = qemu.query_exports()
        assert (export.id, export.kind, export.node.name) == ("theirs", "nbd", "disk")
        info = export.query_info()
        assert (info.id, info.type, info.shutting_down) == ("theirs", "nbd", False)
        with pytest.raises(CommandError, match="Node disk is in use"):
            node.delete()
        export.delete()
        assert repr(export) == "<nbd export 'theirs' of 'disk': deleted>"
        assert qemu.query_exports() == []
        node.delete()
        qemu.qmp.execute_raw("nbd-server-stop")


def test_taking_over_the_exports_of_others_removes_them(
    daemon: StorageDaemon, server: ExportServer, disk: Node
) -> None:
    made = [server.export(disk, name=name) for name in ("a", "b")]
    exports = daemon.query_exports()
    assert {export.id for export in exports} == {export.id for export in made}
    with exports[0], exports[1]:
        assert len(_seen(server)) == 2
    for export in made:
        export.wait_deleted(timeout=0)


# -- how they go ------------------------------------------------------------------------


def test_a_client_keeps_an_export_from_being_removed_safely(
    daemon: StorageDaemon, server: ExportServer, disk: Node
) -> None:
    export = server.export(disk)
    with QemuIo(Image.at_uri(export.uri), read_only=True) as client:
        client.read(0, 512)
        with pytest.raises(CommandError, match=rf"nbd export '{export.id}' .*still in use"):
            export.delete()
        client.read(0, 512)
        export.delete(mode="hard")
        with pytest.raises(ToolError):
            client.read(0, 512)
    assert daemon.query_exports() == []


def test_leaving_the_block_disconnects(server: ExportServer, disk: Node) -> None:
    with server.export(disk) as export:
        client = QemuIo(Image.at_uri(export.uri), read_only=True)
        client.open()
    with pytest.raises(ToolError):
        client.read(0, 512)
    client.close()
    disk.delete()


def test_an_export_is_removed_once(server: ExportServer, disk: Node) -> None:
    with server.export(disk, id="one") as export:
        export.delete()
        export.wait_deleted(timeout=0)
        server.export(disk, id="one")  # which is another
        for verb in (export.delete, export.query_info):
            with pytest.raises(StateError, match=r"nbd export 'one' .*: deleted: "):
                verb()
    assert [*_seen(server)] == ["disk"]


def test_the_removal_by_somebody_else_is_seen(
    daemon: StorageDaemon, server: ExportServer, disk: Node
) -> None:
    export = server.export(disk)
    with pytest.raises(DeadlineExceeded, match=f"the end of nbd export '{export.id}'"):
        export.wait_deleted(timeout=0.1)
    daemon.qmp.execute(BlockExportDel(id=export.id))
    export.wait_deleted(timeout=5)
    with pytest.raises(StateError):
        export.delete()


def test_all_who_wait_for_the_removal_are_woken() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon, await daemon.start_nbd_server() as server:
            export = await server.export(await daemon.add_node(DISK))
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(export.wait_deleted(timeout=5))
                await asyncio.sleep(0)  # they wait
                await export.delete()
            await export.wait_deleted(timeout=0)

    asyncio.run(main())


def test_an_export_that_is_given_up_on_its_way_is_not_there() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon, await daemon.start_nbd_server() as server:
            node = await daemon.add_node(DISK)
            with suspended(daemon):
                task = asyncio.create_task(server.export(node))
                await asyncio.wait((task,), timeout=0.1)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await daemon.query_exports() == []
            await node.delete()

    asyncio.run(main())


def test_every_verb_tells_that_qemu_was_killed(
    daemon: StorageDaemon, server: ExportServer, disk: Node
) -> None:
    with server.export(disk, id="one") as export:
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait(timeout=5)
        verbs: list[Callable[[], object]] = [
            export.delete,
            export.query_info,
            lambda: export.wait_deleted(timeout=5),
            lambda: server.export(disk),
            daemon.query_exports,
        ]
        for verb in verbs:
            with pytest.raises(ConnectionLost, match="killed by signal 9"):
                verb()
        begin = time.monotonic()
    assert time.monotonic() - begin < 1


def test_every_verb_tells_that_the_connection_is_closed(tmp_path: Path) -> None:
    monitor = f"socket,id=second,path={tmp_path / 'qmp'},server=on,wait=off"
    with StorageDaemon(args=("--chardev", monitor, "--monitor", "chardev=second")) as daemon:
        export = daemon.start_nbd_server().export(daemon.add_node(DISK))
        daemon.qmp.close()
        for verb in (export.delete, export.query_info, export.wait_deleted):
            with pytest.raises(ConnectionLost):
                verb()
        with Qmp.connect(tmp_path / "qmp") as other:
            assert len(other.execute_raw("query-block-exports")) == 1  # type: ignore[arg-type]


def test_leaving_the_block_of_an_export_whose_qemu_hangs_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, daemon: StorageDaemon, server: ExportServer, disk: Node
) -> None:
    monkeypatch.setattr("qemu_blocksdk.qmp.cancellation.CLEANUP_TIMEOUT", 0.3)
    export = server.export(disk)
    begin = time.monotonic()
    with suspended(daemon), export:
        pass
    assert 0.3 <= time.monotonic() - begin < 2
