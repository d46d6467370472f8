"""A block node on real QEMU: what it is asked, what changes it, what it refuses."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Node, StorageDaemon
from qemu_blocksdk.blockdev import NULL, File, NullCo, Qcow2, Quorum, Raw
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    GraphError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.wire import BlockdevAmendOptionsQcow2
from tests.live.helpers import MakeImage, run, wait_until
from tests.live.nodes import chain_of, chain_options, names, opened

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def node(daemon: StorageDaemon) -> Node:
    """A node ``n`` of 1 MiB."""
    return daemon.add_node(NullCo(node_name="n", size=1 << 20))


# -- life ---------------------------------------------------------------------------------


def test_a_node_that_is_not_there_is_a_graph_error(daemon: StorageDaemon, node: Node) -> None:
    nowhere = daemon.node("nowhere")
    for ask in (nowhere.query_info, nowhere.query_stats, nowhere.query_children):
        with pytest.raises(GraphError, match="found n") as caught:
            ask()
        assert caught.value.looked_for == "node 'nowhere'"


def test_a_node_comes_and_goes(daemon: StorageDaemon, make_image: MakeImage) -> None:
    path = make_image()
    node = opened(daemon, path)
    assert node.query_info().drv == "qcow2"
    assert node.query_info().file == str(path)
    over = daemon.add_node(Raw(node_name="over", file="disk"))
    with pytest.raises(CommandError, match="in use"):
        node.delete()
    over.delete()
    node.delete()
    wait_until(lambda: not daemon.graph().nodes, what="an empty graph")
    with pytest.raises(CommandError, match=r"^node 'disk': blockdev-del: Failed to find node"):
        node.delete()


def test_a_name_that_is_taken_is_refused(daemon: StorageDaemon, node: Node) -> None:
    for add in (daemon.add_node, daemon.add_chain):
        with pytest.raises(CommandError, match="Duplicate nodes") as caught:
            add(NullCo(node_name="n"))
        assert str(caught.value).startswith("StorageDaemon qemu-storage-daemon: pid ")
    assert names(daemon) == {"n"}


@pytest.mark.parametrize("name", ["x" * 32, "", "a b", "#n"])
def test_a_name_that_cannot_be_is_refused(daemon: StorageDaemon, node: Node, name: str) -> None:
    for add in (daemon.add_node, daemon.add_chain):
        with pytest.raises(UsageError, match=rf"^{name or 'options'}\.node-name: {name!r} "):
            add(NullCo(node_name=name))
    assert names(daemon) == {"n"}


def test_a_name_of_31_bytes_is_the_longest(daemon: StorageDaemon) -> None:
    name = "x" * 31
    daemon.add_node(NullCo(node_name=name)).delete()
    daemon.add_chain(NullCo(node_name=name)).delete()
    assert names(daemon) == set()


_Verb = Callable[[Node, Node], object]
_VERBS: list[_Verb] = [
    lambda node, _: node.query_info(),
    lambda node, _: node.query_stats(),
    lambda node, _: node.query_children(),
    lambda node, _: node.query_parents(),
    lambda node, _: node.query_child("file"),
    lambda node, _: node.set_write_threshold(512),
    lambda node, other: node.add_child(other),
    lambda node, _: node.remove_child("children.0"),
    lambda node, _: node.reopen(NullCo(node_name=node.name)),
    lambda node, _: node.resize("1M"),
    lambda node, _: node.change_backing_file("base"),
    lambda node, other: node.snapshot(other),
    lambda node, _: node.snapshot_sync("never"),
    lambda node, _: node.snapshot_internal("s"),
    lambda node, _: node.delete_internal_snapshot("s"),
    lambda node, other: node.start_backup(other),
    lambda node, other: node.start_mirror(other),
    lambda node, other: node.start_commit(base=other),
    lambda node, _: node.start_stream(),
    lambda node, _: node.start_amend(BlockdevAmendOptionsQcow2()),
    lambda node, _: node.add_bitmap("b"),
    lambda node, _: node.delete(),
]


@pytest.mark.parametrize("verb", range(len(_VERBS)))
def test_no_verb_of_a_node_that_is_gone_succeeds(
    daemon: StorageDaemon, node: Node, verb: int
) -> None:
    other = daemon.add_node(NullCo(node_name="other", size=1 << 20))
    node.delete()
    with pytest.raises((CommandError, GraphError), match=r"'n'|device=n|named 'n'"):
        _VERBS[verb](node, other)
    assert daemon.query_jobs() == []
    assert not Path("never").exists()


@pytest.mark.parametrize("verb", range(len(_VERBS)))
def test_every_verb_tells_that_the_connection_is_lost(verb: int) -> None:
    with StorageDaemon() as daemon:
        node, other = (daemon.add_node(NullCo(node_name=name, size=1 << 20)) for name in "no")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.qmp.wait_lost(timeout=5)
        with pytest.raises(
            ConnectionLost, match=r"^(node|bitmap 'b' of) 'n': [a-z_-]+: .*killed by signal 9"
        ):
            _VERBS[verb](node, other)


# -- graph --------------------------------------------------------------------------------


def test_children_and_parents_are_told_by_name(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    top = daemon.add_node(chain_options(chain_of(make_image)))
    edges = [(edge.name, edge.child.name) for edge in top.query_children()]
    assert edges == [("file", "top-file"), ("backing", "mid")]
    mid = top.query_child("backing")
    assert (mid.name, mid.query_child("backing").name) == ("mid", "base")
    (parent,) = mid.query_parents()
    assert (parent.parent.name, parent.name) == ("top", "backing")
    with pytest.raises(GraphError, match="child 'raw' at node 'top', found backing, file"):
        top.query_child("raw")
    assert daemon.node("base-file").query_children() == []


def test_a_device_or_export_is_a_parent(daemon: StorageDaemon, node: Node) -> None:
    assert node.query_parents() == []
    with daemon.start_nbd_server() as server, server.export(node):
        (edge,) = node.query_parents()
        assert (edge.parent.type, edge.name) == ("block-backend", "root")


def _quorum(daemon: StorageDaemon) -> tuple[Node, list[Node]]:
    children = [daemon.add_node(NullCo(node_name=f"c{n}", size=1 << 20)) for n in range(3)]
    quorum = Quorum(node_name="q", children=["c0", "c1"], vote_threshold=2)
    return daemon.add_node(quorum), children


def test_a_quorum_takes_and_loses_a_child(daemon: StorageDaemon) -> None:
    quorum, children = _quorum(daemon)
    quorum.add_child(children[2])
    assert [edge.child.name for edge in quorum.query_children()] == ["c0", "c1", "c2"]
    with pytest.raises(CommandError, match="c2 already has a parent"):
        quorum.add_child(children[2])
    quorum.remove_child("children.0")
    children[0].delete()
    with pytest.raises(CommandError, match=r"does not have child 'children\.0'"):
        quorum.remove_child("children.0")
    with pytest.raises(CommandError, match=r"^node 'q': x-blockdev-change: .*threshold 2"):
        quorum.remove_child("children.1")


def test_a_node_that_is_no_quorum_takes_no_child(daemon: StorageDaemon, node: Node) -> None:
    other = daemon.add_node(NullCo(node_name="other"))
    with pytest.raises(CommandError, match="does not support adding a child"):
        node.add_child(other)


# -- reopen -------------------------------------------------------------------------------


def test_a_node_is_opened_with_other_options_and_back(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = chain_options(chain_of(make_image))
    node = daemon.add_node(options)
    node.reopen(options.evolve(read_only=True))
    assert node.query_info().ro
    node.reopen(options)
    assert not node.query_info().ro


def test_a_backing_file_is_taken_away_by_reopening(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = chain_options(chain_of(make_image))
    node = daemon.add_chain(options)
    node.reopen(Qcow2(node_name="top", file="top-file", backing=NULL))
    assert [edge.name for edge in node.query_children()] == ["file"]
    node.reopen(Qcow2(node_name="top", file="top-file", backing="base"))
    assert node.query_child("backing").name == "base"
    node.delete()
    assert names(daemon) == set()


def test_several_nodes_are_reopened_or_none(daemon: StorageDaemon, make_image: MakeImage) -> None:
    paths = [make_image("a.qcow2"), make_image("b.qcow2")]
    nodes = [daemon.add_node(chain_options([path])) for path in paths]
    changed = [chain_options([path]).evolve(read_only=True) for path in paths]
    with pytest.raises(CommandError, match="nowhere"):
        daemon.reopen([changed[0], changed[1].evolve(node_name="nowhere")])
    assert [node.query_info().ro for node in nodes] == [False, False]
    daemon.reopen(changed)
    assert [node.query_info().ro for node in nodes] == [True, True]


def test_options_that_cannot_be_meant_are_refused(daemon: StorageDaemon, node: Node) -> None:
    with pytest.raises(UsageError, match="node 'n' cannot be opened with the options of 'other'"):
        node.reopen(NullCo(node_name="other"))
    with pytest.raises(UsageError, match="needs a node_name"):
        node.reopen(NullCo())
    with pytest.raises(UsageError, match="needs a node_name"):
        daemon.reopen([NullCo()])


def test_what_cannot_be_changed_is_refused(daemon: StorageDaemon, make_image: MakeImage) -> None:
    node = daemon.add_node(chain_options([make_image("a.qcow2")]))
    other = make_image("b.qcow2")
    with pytest.raises(CommandError, match=r"^node 'a': blockdev-reopen: Cannot change the option"):
        node.reopen(Qcow2(node_name="a", file=File(node_name="a-file", filename=str(other))))


# -- size, activity, backing file ---------------------------------------------------------


def test_a_node_is_made_larger_and_smaller(daemon: StorageDaemon, make_image: MakeImage) -> None:
    path = make_image(size="1M")
    node = opened(daemon, path)
    node.resize("64M")
    assert node.query_info().image.virtual_size == 64 << 20
    node.resize(1 << 20)
    node.delete()
    assert '"virtual-size": 1048576' in run("qemu-img", "info", "--output=json", path)


@pytest.mark.parametrize("size", ["lots", -1, "64MM"])
def test_a_size_that_is_none_is_refused(node: Node, size: int | str) -> None:
    with pytest.raises(UsageError, match="size"):
        node.resize(size)


def test_a_node_that_cannot_grow_says_so(
    daemon: StorageDaemon, node: Node, make_image: MakeImage
) -> None:
    with pytest.raises(CommandError, match=r"^node 'n': block_resize: .*does not support resize"):
        node.resize("2M")
    image = opened(daemon, make_image())
    with pytest.raises(CommandError, match="multiple of 512"):
        image.resize(513)
    with pytest.raises(CommandError, match="Permission conflict"):
        image.query_child("file").resize("2M")


def test_an_inactive_node_lets_go_of_its_image(
    daemon: StorageDaemon, make_image: MakeImage, qemu_version: tuple[int, int]
) -> None:
    path = make_image()
    node = opened(daemon, path)
    if qemu_version < (10, 0):
        with pytest.raises(Unsupported, match="blockdev-set-active"):
            node.set_active(False)
        return
    node.set_active(False)
    assert node.query_info().active is False
    run("qemu-io", "-c", "write 0 64k", path)  # no lock is in the way
    node.set_active(True)
    assert node.query_info().active is True


def test_the_name_of_a_backing_file_is_rewritten(
    daemon: StorageDaemon, make_image: MakeImage, tmp_path: Path
) -> None:
    paths = chain_of(make_image)
    top = daemon.add_node(chain_options(paths))
    moved = tmp_path / "elsewhere.qcow2"
    top.query_child("backing").change_backing_file(moved, root=top)
    top.change_backing_file(paths[0])
    assert top.query_child("backing").name == "mid"
    top.delete()
    assert f'"backing-filename": "{moved}"' in run("qemu-img", "info", "--output=json", paths[1])
    assert f'"backing-filename": "{paths[0]}"' in run("qemu-img", "info", "--output=json", paths[2])


def test_a_node_without_backing_file_cannot_name_one(node: Node) -> None:
    with pytest.raises(CommandError, match="without a backing file"):
        node.change_backing_file("base")


# -- statistics ---------------------------------------------------------------------------


def test_statistics_tell_how_far_was_written(daemon: StorageDaemon, make_image: MakeImage) -> None:
    path = make_image(fmt="raw", name="disk.raw")
    node = daemon.add_node(File(node_name="disk", filename=str(path)))
    assert node.query_stats().stats.wr_highest_offset == 0
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        run("qemu-io", "-f", "raw", "-c", "write 1M 64k", str(export.uri))
    stats = node.query_stats()
    assert (stats.node_name, stats.stats.wr_highest_offset) == ("disk", (1 << 20) + (64 << 10))


def test_all_that_a_node_raises_is_ours_and_one_line(daemon: StorageDaemon, node: Node) -> None:
    other = daemon.add_node(NullCo(node_name="other"))
    node.delete()
    for verb in _VERBS:
        with pytest.raises(BlockSdkError) as caught:
            verb(node, other)
        assert "\n" not in str(caught.value)
