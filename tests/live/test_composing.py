"""Composed options are what QEMU builds of them."""

from __future__ import annotations

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import (
    NULL,
    BlkdebugInjectErrorOptions,
    BlockdevOptions,
    CacheMode,
    File,
    NullCo,
    Qcow2,
)
from qemu_blocksdk.errors import CommandError
from qemu_blocksdk.wire import ThrottleLimits
from tests.live.helpers import MakeImage


def _edges(daemon: StorageDaemon) -> set[tuple[str, str, str]]:
    return {(edge.parent.name, edge.name, edge.child.name) for edge in daemon.graph().edges}


def test_a_chain_with_filters_is_what_was_composed(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = [make_image(f"{name}.qcow2") for name in ("base", "top")]
    base, top = (
        Qcow2(node_name=path.stem, file=File(node_name=f"{path.stem}-file", filename=str(path)))
        for path in paths
    )
    disk = (
        top.with_backing(base.with_backing(NULL).as_read_only())
        .copy_on_read()
        .named("cor")
        .throttled("group")
        .named("slow")
    )
    with daemon.add_throttle_group("group", limits=ThrottleLimits(iops_total=1000)):
        node = daemon.add_node(disk)
        assert _edges(daemon) == {
            ("slow", "file", "cor"),
            ("cor", "file", "top"),
            ("top", "file", "top-file"),
            ("top", "backing", "base"),
            ("base", "file", "base-file"),
        }
        assert daemon.node("base").query_info().ro
        assert not daemon.node("top").query_info().ro
        node.delete()


@pytest.mark.parametrize("mode", ["writeback", "none", "writethrough", "directsync", "unsafe"])
def test_a_cache_mode_is_what_qemu_says_of_the_node(
    daemon: StorageDaemon, make_image: MakeImage, mode: CacheMode
) -> None:
    disk = Qcow2(node_name="disk", file=File(node_name="file", filename=str(make_image())))
    with_mode = daemon.add_node(disk.cached(mode))
    cache = with_mode.query_info().cache
    assert (cache.direct, cache.no_flush) == (mode in ("none", "directsync"), mode == "unsafe")
    assert daemon.node("file").query_info().cache == cache  # inside, it inherits


def test_a_composed_rule_makes_reads_fail(daemon: StorageDaemon) -> None:
    rule = BlkdebugInjectErrorOptions(event="none", iotype="read", errno=5)
    bad = NullCo(size=1 << 20).blkdebug(rule).named("bad")
    source = daemon.add_node(bad)
    target = daemon.add_node(NullCo(node_name="target", size=1 << 20))
    result = source.start_backup(target).run(timeout=10, check=False)
    assert (result.outcome, result.error) == ("failed", "Input/output error")


def test_what_is_overwritten_is_saved(daemon: StorageDaemon, make_image: MakeImage) -> None:
    disk, target = (
        Qcow2(node_name=name, file=File(filename=str(make_image(f"{name}.qcow2"))))
        for name in ("disk", "target")
    )
    filters: list[BlockdevOptions] = [
        disk.copy_before_write(target).named("cbw"),
        disk.compress().named("compress"),
        File(filename=str(make_image("raw", fmt="raw"))).preallocate().named("preallocate"),
    ]
    for each in filters:
        node = daemon.add_node(each)
        assert node.query_info().drv == each.driver
        node.delete()


def test_a_filter_that_qemu_refuses_leaves_nothing(daemon: StorageDaemon) -> None:
    with pytest.raises(CommandError, match="Throttle group 'nowhere' does not exist"):
        daemon.add_node(NullCo().throttled("nowhere").named("slow"))
    assert daemon.graph().nodes == ()
