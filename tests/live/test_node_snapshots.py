"""Snapshots of a node: overlays, and inside the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import NULL, File, NullCo, Qcow2
from qemu_blocksdk.errors import CommandError, GraphError
from tests.live.helpers import MakeImage, run, write_with_qemu_io
from tests.live.nodes import names, opened

pytestmark = pytest.mark.timeout(30)


def _overlay(make_image: MakeImage, name: str = "overlay") -> Qcow2:
    path = make_image(f"{name}.qcow2")
    return Qcow2(node_name=name, file=File(filename=str(path)), backing=NULL)


def test_the_users_of_a_node_are_on_its_overlay(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    path = make_image(write="-P 1 0 1M")
    before = path.read_bytes()
    node, overlay = opened(daemon, path), daemon.add_node(_overlay(make_image))
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        node.snapshot(overlay)
        write_with_qemu_io(str(export.uri), "read -P 1 0 1M", "write -P 2 0 64k", fmt="raw")
        assert overlay.query_child("backing").name == node.name
    overlay.delete()
    node.delete()
    assert path.read_bytes() == before


def test_an_overlay_that_cannot_be_is_refused(daemon: StorageDaemon, make_image: MakeImage) -> None:
    node, overlay = opened(daemon, make_image()), daemon.add_node(_overlay(make_image))
    with pytest.raises(CommandError, match=r"^node 'disk': blockdev-snapshot: .*gone"):
        node.snapshot(daemon.node("gone"))
    with pytest.raises(CommandError, match=r"^node 'disk': blockdev-snapshot: "):
        node.snapshot(daemon.add_node(NullCo(node_name="null")))
    node.snapshot(overlay)
    with pytest.raises(CommandError, match="used as backing hd of 'overlay'"):
        node.snapshot(overlay)
    other = daemon.add_node(_overlay(make_image, "other"))
    with pytest.raises(CommandError, match="The overlay already has a backing image"):
        other.snapshot(overlay)


def test_qemu_makes_an_overlay_itself(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    node, path = opened(daemon, make_image(write="-P 1 0 1M")), tmp_path / "over.qcow2"
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        overlay = node.snapshot_sync(path, snapshot_node_name="over")
        assert overlay.name == "over"
        assert overlay.query_info().file == str(path)
        write_with_qemu_io(str(export.uri), "write -P 2 0 64k", fmt="raw")
        again = overlay.snapshot_sync(tmp_path / "over2.qcow2", mode="absolute-paths")
        assert again.query_child("backing").name == "over"
    assert names(daemon) == {node.name, node.query_child("file").name}  # it was the export's
    node.delete()
    run("qemu-io", "-f", "qcow2", "-c", "read -P 2 0 64k", "-c", "read -P 1 64k 64k", path)


def test_an_overlay_in_an_image_that_is_there(daemon: StorageDaemon, make_image: MakeImage) -> None:
    node, path = opened(daemon, make_image()), make_image("existing.qcow2", write="-P 5 0 64k")
    with daemon.start_nbd_server() as server, server.export(node) as export:
        node.snapshot_sync(path, mode="existing")
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 5 0 64k", str(export.uri))


def test_an_overlay_that_nobody_would_use_is_not_made(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    node = opened(daemon, make_image())
    with pytest.raises(GraphError, match="looked for a user of node 'disk', found none"):
        node.snapshot_sync(tmp_path / "over.qcow2")
    assert not (tmp_path / "over.qcow2").exists()


def test_an_overlay_in_a_place_that_is_not_there_is_refused(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    node = opened(daemon, make_image())
    with daemon.start_nbd_server() as server, server.export(node):
        with pytest.raises(CommandError, match="No such file or directory"):
            node.snapshot_sync(tmp_path / "nowhere" / "over.qcow2")
        with pytest.raises(CommandError, match=r"in use|already|Duplicate"):
            node.snapshot_sync(tmp_path / "over.qcow2", snapshot_node_name="disk")


def test_a_snapshot_is_inside_the_image_until_it_is_deleted(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = opened(daemon, make_image(write="-P 1 0 64k"))
    node.snapshot_internal("first")
    node.snapshot_internal("second")
    snapshots = node.query_info().image.snapshots or ()
    assert [each.name for each in snapshots] == ["first", "second"]
    with pytest.raises(CommandError, match="name 'first' already exists"):
        node.snapshot_internal("first")
    with pytest.raises(CommandError, match="Name is empty"):
        node.snapshot_internal("")
    assert node.delete_internal_snapshot("first").id == "1"
    assert node.delete_internal_snapshot(id="2").name == "second"
    with pytest.raises(CommandError, match="'first' does not exist"):
        node.delete_internal_snapshot("first")
    with pytest.raises(CommandError, match="Name or id must be provided"):
        node.delete_internal_snapshot()
    assert not node.query_info().image.snapshots


def test_only_the_root_of_a_chain_takes_a_snapshot_inside(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = opened(daemon, make_image())
    with pytest.raises(CommandError, match="Need a root block node"):
        node.query_child("file").snapshot_internal("s")
    null = daemon.add_node(NullCo(node_name="null"))
    with pytest.raises(CommandError, match="not support internal snapshots"):
        null.snapshot_internal("s")
