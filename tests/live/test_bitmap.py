"""Dirty bitmaps of a real storage daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Node, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2
from qemu_blocksdk.errors import CommandError, ConnectionLost, GraphError, UsageError
from tests.live.helpers import MakeImage, write_with_qemu_io

pytestmark = pytest.mark.timeout(30)


def _disk(daemon: StorageDaemon, path: Path, name: str = "disk") -> Node:
    return daemon.add_node(Qcow2(node_name=name, file=File(filename=str(path))))


def _write(daemon: StorageDaemon, node: Node, *commands: str) -> None:
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        write_with_qemu_io(str(export.uri), *commands, fmt="raw")


def test_a_bitmap_counts_what_is_written(daemon: StorageDaemon, make_image: MakeImage) -> None:
    disk = _disk(daemon, make_image())
    bitmap = disk.add_bitmap("b", granularity=65536)
    assert bitmap.query_matches(
        count=0, granularity=65536, recording=True, busy=False, persistent=False, inconsistent=False
    )
    _write(daemon, disk, "write 1M 128k")
    assert bitmap.query_info().count == 128 << 10
    assert not bitmap.query_matches(count=0)
    bitmap.disable()
    _write(daemon, disk, "write 8M 1M")
    assert bitmap.query_matches(count=128 << 10, recording=False)
    bitmap.enable()
    bitmap.clear()
    _write(daemon, disk, "write 0 64k")
    assert bitmap.query_info().count == 65536
    bitmap.remove()
    assert daemon.query_bitmaps() == {}


def test_a_bitmap_is_selected_by_whether_it_records(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    bitmap = _disk(daemon, make_image()).add_bitmap("b", disabled=True)
    assert bitmap.query_info(recording=False) == bitmap.query_info()
    with pytest.raises(GraphError, match="bitmap 'b' that records at node 'disk', found b"):
        bitmap.query_info(recording=True)


def test_bitmaps_of_several_nodes_are_merged(daemon: StorageDaemon, make_image: MakeImage) -> None:
    disks = [_disk(daemon, make_image(f"{name}.qcow2"), name) for name in ("one", "two")]
    bitmaps = [disk.add_bitmap("b", granularity=65536) for disk in disks]
    _write(daemon, disks[0], "write 0 64k")
    _write(daemon, disks[1], "write 1M 64k", "write 2M 64k")
    both = disks[0].add_bitmap("both", granularity=65536, disabled=True)
    both.merge(bitmaps)
    assert both.query_info().count == 3 * 65536
    same = disks[1].add_bitmap("same", granularity=65536, disabled=True)
    same.merge([both])
    assert same.query_sha256() == both.query_sha256()
    assert same.query_sha256() != bitmaps[0].query_sha256()
    assert len(same.query_sha256()) == 64


def test_a_merge_that_fails_merges_nothing(daemon: StorageDaemon, make_image: MakeImage) -> None:
    disk = _disk(daemon, make_image())
    source, target = disk.add_bitmap("source"), disk.add_bitmap("target", disabled=True)
    _write(daemon, disk, "write 0 64k")
    with pytest.raises(CommandError, match=r"bitmap 'target' of 'disk': .*'missing' not found"):
        target.merge([source, disk.bitmap("missing")])
    assert target.query_info().count == 0


def test_a_persistent_bitmap_is_there_again(daemon: StorageDaemon, make_image: MakeImage) -> None:
    path = make_image()
    disk = _disk(daemon, path)
    disk.add_bitmap("kept", persistent=True)
    disk.add_bitmap("lost")
    _write(daemon, disk, "write 0 64k")
    disk.delete()
    disk = _disk(daemon, path)
    assert disk.bitmap("kept").query_matches(count=65536, persistent=True)
    with pytest.raises(GraphError, match="bitmap 'lost' at node 'disk', found kept"):
        disk.bitmap("lost").query_info()


def test_a_bitmap_in_use_says_what_is_in_the_way(daemon: StorageDaemon) -> None:
    disk, target = (daemon.add_node(NullCo(node_name=n, size=1 << 26)) for n in ("disk", "sink"))
    bitmap = disk.add_bitmap("b")
    assert bitmap.query_obstacle() is None
    with disk.start_backup(target, sync="bitmap", bitmap=bitmap, bitmap_mode="never"):
        pass  # nothing is dirty: it is over at once
    whole = disk.add_bitmap("whole")
    with daemon.start_nbd_server() as server, server.export(disk, writable=True, bitmaps=["whole"]):
        assert whole.query_obstacle() == "a job, an export or a migration is using it"
        assert whole.query_matches(busy=True)
        verbs: list[Callable[[], object]] = [whole.remove, whole.clear, whole.enable]
        verbs += [whole.disable, lambda: whole.merge([bitmap])]
        for verb in verbs:
            with pytest.raises(CommandError, match=r"bitmap 'whole' of 'disk': .* in use") as busy:
                verb()
            assert busy.value.command.startswith("block-dirty-bitmap-")
        with pytest.raises(CommandError, match="in use"):
            disk.start_backup(target, sync="incremental", bitmap=whole)
    whole.remove()


def test_an_inconsistent_bitmap_can_only_be_removed(make_image: MakeImage) -> None:
    path = make_image()
    with StorageDaemon() as daemon:
        disk = _disk(daemon, path)
        disk.add_bitmap("b", persistent=True)
        disk.delete()
        disk = _disk(daemon, path)
        _write(daemon, disk, "write 0 64k")
        daemon.process.kill()
    with StorageDaemon() as daemon:
        disk, target = _disk(daemon, path), daemon.add_node(NullCo(node_name="t", size=16 << 20))
        bitmap = disk.bitmap("b")
        assert bitmap.query_matches(inconsistent=True, recording=False)
        assert bitmap.query_obstacle() == (
            "it was not stored when its image was last in use: it can only be removed"
        )
        with pytest.raises(CommandError, match="inconsistent"):
            disk.start_backup(target, sync="incremental", bitmap=bitmap)
        with pytest.raises(CommandError, match="inconsistent"):
            bitmap.clear()
        bitmap.remove()
        assert daemon.query_bitmaps() == {}


def test_bad_input_is_refused_in_clear_words(daemon: StorageDaemon, make_image: MakeImage) -> None:
    disk = _disk(daemon, make_image())
    disk.add_bitmap("b")
    for verb, words in (
        (lambda: disk.add_bitmap("b"), "already exists"),
        (lambda: disk.add_bitmap("c", granularity=3), "power of 2"),
        (lambda: disk.add_bitmap("x" * 1024), "too long"),
        (lambda: disk.add_bitmap(""), "name cannot be empty"),
        (lambda: disk.bitmap("gone").clear(), "not found"),
        (lambda: daemon.node("nowhere").add_bitmap("b"), "nowhere"),
    ):
        with pytest.raises(CommandError, match=words) as caught:
            verb()
        assert caught.value.subject.startswith("bitmap '")
    with pytest.raises((UsageError, CommandError), match="granularity"):
        disk.add_bitmap("c", granularity=-1)
    raw = daemon.add_node(NullCo(node_name="raw", size=1 << 20))
    with pytest.raises(CommandError, match="persistent"):
        raw.add_bitmap("b", persistent=True)


def test_every_verb_says_that_qemu_has_died(daemon: StorageDaemon, make_image: MakeImage) -> None:
    bitmap = _disk(daemon, make_image()).add_bitmap("b")
    daemon.process.kill()
    verbs: list[Callable[[], object]] = [
        bitmap.add,
        bitmap.remove,
        bitmap.clear,
        bitmap.enable,
        bitmap.disable,
        lambda: bitmap.merge([bitmap]),
        bitmap.query_sha256,
    ]
    for verb in verbs:
        with pytest.raises(ConnectionLost, match=r"^bitmap 'b' of 'disk': .*signal 9"):
            verb()
    with pytest.raises(ConnectionLost, match=r"^node 'disk': query-named-block-nodes: "):
        bitmap.query_info()
