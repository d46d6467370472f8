"""A chain of nodes: each layer added once, removed with its last user, whatever happens."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2, Raw
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    StateError,
    UsageError,
)
from qemu_blocksdk.objects import graph_query
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import BlockdevDel
from tests.live.helpers import MakeImage, are_equal, run, write_with_qemu_io
from tests.live.nodes import NoUnstableGraph, chain_of, chain_options, names

pytestmark = pytest.mark.timeout(30)

ALL = {"base", "base-file", "mid", "mid-file", "top", "top-file"}


def _over(daemon: StorageDaemon, base: str) -> Raw:
    return Raw(node_name=f"over-{base}", file=base, read_only=True)


def test_a_chain_comes_as_nodes_of_their_own_and_goes_whole(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = daemon.add_chain(chain_options(chain_of(make_image)))
    assert node.name == "top"
    assert names(daemon) == ALL
    with pytest.raises(CommandError, match="'mid' is busy: node is used as backing hd of 'top'"):
        daemon.node("mid").delete()
    node.delete()
    assert names(daemon) == set()


def test_a_chain_is_open_as_it_would_be_inside(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = chain_of(make_image)
    daemon.add_chain(chain_options(paths))
    assert [daemon.node(name).query_info().ro for name in ("base", "mid", "top")] == [
        True,
        True,
        False,
    ]
    with StorageDaemon() as other:  # the lower layers are not locked against a reader
        other.add_chain(chain_options(paths[:2]).evolve(read_only=True))
    with daemon.start_nbd_server() as server, server.export(daemon.node("top")) as export:
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 2 1M 1M", str(export.uri))


def test_the_base_of_a_chain_can_be_written_by_a_commit(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = chain_of(make_image)
    copy = make_image("copy.qcow2")
    run("qemu-img", "convert", "-O", "qcow2", paths[-1], copy)
    node = daemon.add_chain(chain_options(paths))
    node.commit(timeout=10)
    node.delete()
    assert names(daemon) == set()
    assert are_equal(paths[0], copy)


@pytest.mark.parametrize("has_unstable", [True, False])
def test_chains_share_a_layer_which_goes_with_the_last(
    daemon: StorageDaemon,
    make_image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
    qemu_version: tuple[int, int],
    has_unstable: bool,
) -> None:
    # An older QEMU has the edges in the unstable command alone.
    if not has_unstable and qemu_version >= (10, 1):
        monkeypatch.setattr(graph_query, "XDebugQueryBlockGraph", NoUnstableGraph)
    base, mid, top = chain_of(make_image)
    other = make_image("other.qcow2", backing=mid)
    first = daemon.add_chain(chain_options([base, mid, top]))
    second = daemon.add_chain(chain_options([base, mid, other]))
    assert names(daemon) == ALL | {"other", "other-file"}
    first.delete()
    assert names(daemon) == ALL - {"top", "top-file"} | {"other", "other-file"}
    second.delete()
    assert names(daemon) == set()


def test_one_chain_added_twice_goes_when_both_are_deleted(daemon: StorageDaemon) -> None:
    options = Raw(node_name="top", file=NullCo(node_name="leaf"))
    first, second = daemon.add_chain(options), daemon.add_chain(options)
    first.delete()
    assert names(daemon) == {"top", "leaf"}
    with pytest.raises(StateError, match=r"^node 'top': delete is not possible any more"):
        first.delete()
    second.delete()
    assert names(daemon) == set()


def test_a_layer_under_another_chain_stays_when_its_own_is_deleted(daemon: StorageDaemon) -> None:
    leaf = daemon.add_chain(NullCo(node_name="leaf", discard="unmap"))
    over = daemon.add_chain(Raw(node_name="top", file=NullCo(node_name="leaf")))
    leaf.delete()
    assert names(daemon) == {"top", "leaf"}
    over.delete()
    assert names(daemon) == set()


def test_a_layer_that_a_node_uses_goes_with_that_node(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = daemon.add_chain(chain_options(chain_of(make_image)))
    user = daemon.add_node(_over(daemon, "mid"))
    node.delete()
    assert names(daemon) == {"over-mid", "mid", "mid-file", "base", "base-file"}
    user.delete()
    assert names(daemon) == set()


def test_a_layer_that_is_left_is_used_by_the_next_chain(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = chain_options(chain_of(make_image))
    node = daemon.add_chain(options)
    user = daemon.add_node(_over(daemon, "mid"))
    node.delete()
    again = daemon.add_chain(options)
    user.delete()
    assert names(daemon) == ALL
    again.delete()
    assert names(daemon) == set()


def test_a_chain_in_use_is_not_deleted_and_can_be_later(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    node = daemon.add_chain(chain_options(chain_of(make_image)))
    user = daemon.add_node(_over(daemon, "top"))
    with pytest.raises(
        CommandError, match=r"^node 'top': blockdev-del: Block device top is in use"
    ):
        node.delete()
    assert names(daemon) == ALL | {"over-top"}
    user.delete()
    node.delete()
    assert names(daemon) == set()


def test_what_the_user_added_himself_is_referred_to_and_stays(daemon: StorageDaemon) -> None:
    daemon.add_node(NullCo(node_name="leaf"))
    node = daemon.add_chain(Raw(node_name="top", file=Raw(node_name="mid", file="leaf")))
    node.delete()
    assert names(daemon) == {"leaf"}
    with pytest.raises(CommandError, match="Duplicate nodes with node-name='leaf'"):
        daemon.add_chain(Raw(node_name="top", file=NullCo(node_name="leaf")))
    assert names(daemon) == {"leaf"}


def test_a_name_that_stands_for_something_else_is_refused(daemon: StorageDaemon) -> None:
    daemon.add_chain(Raw(node_name="one", file=NullCo(node_name="leaf", size=1024)))
    other = Raw(node_name="two", file=NullCo(node_name="leaf", size=2048))
    with pytest.raises(UsageError, match="node 'leaf' is there already, with other options"):
        daemon.add_chain(other)
    assert names(daemon) == {"one", "leaf"}


def test_a_layer_that_fails_takes_those_before_it_along(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    base, mid, top = chain_of(make_image)
    other = daemon.add_chain(chain_options([base]))
    before = names(daemon)
    mid_options = Qcow2(
        node_name="mid",
        file=File(node_name="mid-file", filename=str(mid)),
        backing=Qcow2(node_name="gone", file=File(node_name="gone-file", filename="/nowhere")),
    )
    with pytest.raises(CommandError, match="'/nowhere': No such file or directory"):
        daemon.add_chain(
            Qcow2(
                node_name="top",
                file=File(node_name="top-file", filename=str(top)),
                backing=mid_options,
            )
        )
    assert names(daemon) == before
    other.delete()
    assert names(daemon) == set()


def test_a_chain_whose_backing_file_vanished_is_refused(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = chain_of(make_image)
    paths[0].unlink()
    with pytest.raises(CommandError, match=r"base\.qcow2.*No such file or directory"):
        daemon.add_chain(chain_options(paths))
    inside = Qcow2(node_name="top", file=File(filename=str(paths[2])))  # QEMU finds the others
    for add in (daemon.add_node, daemon.add_chain):
        with pytest.raises(CommandError, match="Could not open backing file"):
            add(inside)
    assert names(daemon) == set()


def test_a_chain_that_somebody_else_removed_is_let_go_of(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = chain_options(chain_of(make_image))
    node = daemon.add_chain(options)
    daemon.qmp.execute(BlockdevDel(node_name="top"))
    with pytest.raises(CommandError, match="Failed to find node"):
        node.delete()
    assert names(daemon) == set()
    again = daemon.add_chain(options)
    daemon.node("top").delete()  # another object of the same node: the layers go as well
    assert names(daemon) == set()
    with pytest.raises(StateError):
        again.delete()


def test_a_node_of_a_name_that_a_chain_left_is_the_users(daemon: StorageDaemon) -> None:
    options = Raw(node_name="top", file=NullCo(node_name="leaf"))
    node = daemon.add_chain(options)
    user = daemon.add_node(Raw(node_name="user", file="leaf"))
    node.delete()
    daemon.qmp.execute(BlockdevDel(node_name="user"))  # nobody sees to the leaf
    daemon.qmp.execute(BlockdevDel(node_name="leaf"))
    own = daemon.add_node(NullCo(node_name="leaf"))
    daemon.add_node(NullCo(node_name="any")).delete()
    assert names(daemon) == {"leaf"}
    own.delete()
    with pytest.raises(CommandError):
        user.delete()


def test_chains_added_at_once_share_their_layers(make_image: MakeImage) -> None:
    base = make_image("base.qcow2")
    tops = [make_image(f"t{n}.qcow2", backing=base) for n in range(5)]

    async def scenario() -> tuple[set[str], set[str]]:
        async with AsyncStorageDaemon() as daemon:
            added = await asyncio.gather(
                *(daemon.add_chain(chain_options([base, top])) for top in tops)
            )
            there = {node.name for node in (await daemon.graph()).nodes}
            await asyncio.gather(*(node.delete() for node in added))
            return there, {node.name for node in (await daemon.graph()).nodes}

    there, left = asyncio.run(scenario())
    assert len(there) == 12
    assert left == set()


def test_a_cancelled_chain_leaves_no_node(make_image: MakeImage) -> None:
    options = chain_options(chain_of(make_image))

    async def scenario() -> None:
        async with AsyncStorageDaemon() as daemon:
            whole = 0
            for turns in range(40):
                adding = asyncio.create_task(daemon.add_chain(options))
                for _ in range(turns):
                    await asyncio.sleep(0)
                adding.cancel()
                await asyncio.wait((adding,))
                if not adding.cancelled():
                    whole += 1
                    await adding.result().delete()
                assert (await daemon.graph()).nodes == ()
            assert whole < 40

    asyncio.run(scenario())


def test_a_chain_that_is_given_up_leaves_no_node_when_qemu_wakes(make_image: MakeImage) -> None:
    options = chain_options(chain_of(make_image))
    with StorageDaemon(command_timeout=0.3) as daemon:
        with suspended(daemon), pytest.raises(DeadlineExceeded):
            daemon.add_chain(options)
        assert names(daemon) == set()
        daemon.add_chain(options).delete()


def test_a_lost_connection_forgets_the_chain(make_image: MakeImage) -> None:
    options = chain_options(chain_of(make_image))
    with StorageDaemon() as daemon:
        node = daemon.add_chain(options)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.qmp.wait_lost(timeout=5)
        with pytest.raises(ConnectionLost, match=r"^node 'top': blockdev-del: "):
            node.delete()
        with pytest.raises(ConnectionLost):
            daemon.add_chain(options)
        daemon.stop()
        daemon.launch()
        daemon.add_chain(options).delete()
        assert names(daemon) == set()


def test_a_chain_of_a_hundred_layers_comes_and_goes(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths: list[Path] = []
    for number in range(100):
        backing = paths[-1] if paths else None
        paths.append(make_image(f"l{number}.qcow2", size="1M", backing=backing))
    write_with_qemu_io(paths[0], "write -P 9 0 64k")
    node = daemon.add_chain(chain_options(paths))
    assert len(names(daemon)) == 200
    node.delete()
    assert names(daemon) == set()


def test_a_chain_with_other_options_is_another(daemon: StorageDaemon) -> None:
    options = NullCo(node_name="top", size=1024)
    daemon.add_chain(options).delete()
    node = daemon.add_chain(options.evolve(size=2048))
    assert node.query_info().image.virtual_size == 2048
