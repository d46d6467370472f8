"""Transactions on a real storage daemon: all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Node, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, NullCo, Qcow2
from qemu_blocksdk.errors import (
    ConnectionLost,
    DeadlineExceeded,
    GraphError,
    JobCancelled,
    JobFailed,
    StateError,
    TransactionFailed,
)
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import Abort, BlockDirtyBitmap, QueryJobs, TransactionActionAbort
from qemu_blocksdk.wire import TransactionActionBlockDirtyBitmapClear as ClearAction
from tests.live.helpers import MakeImage, are_equal, run

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def disk(daemon: StorageDaemon, make_image: MakeImage) -> Node:
    """A qcow2 image of 16 MiB with data."""
    path = make_image("disk.qcow2", write="-P 7 1M 4M")
    return daemon.add_node(Qcow2(node_name="disk", file=File(filename=str(path))))


def _null(daemon: StorageDaemon, name: str, *, bad: bool = False) -> Node:
    if not bad:
        return daemon.add_node(NullCo(node_name=name, size=1 << 26))
    rule = BlkdebugInjectErrorOptions(event="none", iotype="write")
    image = NullCo(size=1 << 26)
    return daemon.add_node(Blkdebug(node_name=name, image=image, inject_error=[rule]))


def test_every_action_on_bitmaps_is_carried_out(daemon: StorageDaemon, disk: Node) -> None:
    first, second, third = disk.add_bitmap("a"), disk.add_bitmap("b"), disk.bitmap("c")
    transaction = daemon.transaction()
    transaction.add_bitmap(third, granularity=4096, disabled=True)
    transaction.merge_bitmaps(third, [first, second])
    transaction.disable_bitmap(first)
    transaction.remove_bitmap(second)
    transaction.enable_bitmap(third)
    transaction.clear_bitmap(third)
    assert transaction.commit() == []
    assert not first.query_info().recording
    assert third.query_matches(recording=True, granularity=4096, count=0)
    assert set(daemon.query_bitmaps()) == {"disk"}
    assert {info.name for info in daemon.query_bitmaps()["disk"]} == {"a", "c"}


def test_when_it_fails_nothing_has_happened(daemon: StorageDaemon, disk: Node) -> None:
    bitmap = disk.add_bitmap("there")
    transaction = daemon.transaction()
    transaction.disable_bitmap(bitmap)
    transaction.add_bitmap(disk.bitmap("new"))
    target = daemon.add_node(NullCo(node_name="sink", size=16 << 20))
    transaction.backup(disk, target, job_id="job")
    transaction.clear_bitmap(disk.bitmap("nowhere"))
    with pytest.raises(TransactionFailed, match="Dirty bitmap 'nowhere' not found") as caught:
        transaction.commit()
    assert caught.value.suspects == (3,)
    assert "action 3: block-dirty-bitmap-clear" in str(caught.value)
    assert str(caught.value).startswith("transaction of 4 actions: ")
    assert "\n" not in str(caught.value)
    assert bitmap.query_info().recording
    assert {info.name for info in daemon.query_bitmaps()["disk"]} == {"there"}
    assert daemon.qmp.execute(QueryJobs()) == []


def test_an_abort_undoes_what_came_before_it(daemon: StorageDaemon, disk: Node) -> None:
    transaction = daemon.transaction()
    transaction.add_bitmap(disk.bitmap("new"))
    transaction.abort()
    with pytest.raises(TransactionFailed, match="action 1: abort") as caught:
        transaction.commit()
    assert caught.value.suspects == (1,)
    assert daemon.query_bitmaps() == {}


def test_several_suspects_are_all_named(daemon: StorageDaemon, disk: Node) -> None:
    transaction = daemon.transaction()
    for _ in range(2):
        transaction.clear_bitmap(disk.bitmap("nowhere"))
    with pytest.raises(TransactionFailed) as caught:
        transaction.commit()
    assert caught.value.suspects == (0, 1)


def test_it_is_committed_once(daemon: StorageDaemon, disk: Node) -> None:
    transaction = daemon.transaction()
    transaction.add_bitmap(disk.bitmap("new"))
    transaction.commit()
    with pytest.raises(StateError, match="transaction of 1 actions: commit is not possible"):
        transaction.commit()


def test_an_action_as_qmp_has_it_can_be_added(daemon: StorageDaemon, disk: Node) -> None:
    disk.add_bitmap("b")
    transaction = daemon.transaction()
    transaction.add(ClearAction(data=BlockDirtyBitmap(node="disk", name="b")))
    transaction.add(TransactionActionAbort(data=Abort()))
    assert [action.type for action in transaction.actions] == ["block-dirty-bitmap-clear", "abort"]
    with pytest.raises(TransactionFailed):
        transaction.commit()


def test_the_jobs_it_starts_come_back(
    daemon: StorageDaemon, disk: Node, make_image: MakeImage, tmp_path: Path
) -> None:
    other = daemon.add_node(
        Qcow2(
            node_name="other",
            file=File(filename=str(make_image("other.qcow2", write="-P 3 0 1M"))),
        )
    )
    transaction = daemon.transaction()
    bitmaps = [node.bitmap("since") for node in (disk, other)]
    targets = [make_image(f"{name}-copy.qcow2") for name in ("disk", "other")]
    for node, bitmap, path in zip((disk, other), bitmaps, targets, strict=True):
        target = daemon.add_node(Qcow2(node_name=path.stem, file=File(filename=str(path))))
        transaction.add_bitmap(bitmap)
        transaction.backup(node, target)
    jobs = transaction.commit()
    assert [job.kind for job in jobs] == ["backup", "backup"]
    for job in jobs:
        job.run(timeout=20)
    for path in targets:
        daemon.node(path.stem).delete()
        assert are_equal(tmp_path / f"{path.stem.removesuffix('-copy')}.qcow2", path)
    assert all(bitmap.query_matches(count=0) for bitmap in bitmaps)


def test_grouped_jobs_fail_together(daemon: StorageDaemon) -> None:
    transaction = daemon.transaction(completion_mode="grouped")
    sources = [_null(daemon, name) for name in ("s0", "s1")]
    transaction.backup(sources[0], _null(daemon, "slow"), speed=1)
    transaction.backup(sources[1], _null(daemon, "bad", bad=True))
    slow, failing = transaction.commit()
    with pytest.raises(JobFailed, match="Input/output error"):
        failing.wait(timeout=10)
    with pytest.raises(JobCancelled):
        slow.wait(timeout=10)
    assert daemon.qmp.execute(QueryJobs()) == []


def test_individual_jobs_fail_alone(daemon: StorageDaemon) -> None:
    transaction = daemon.transaction(completion_mode="individual")
    sources = [_null(daemon, name) for name in ("s0", "s1")]
    transaction.backup(sources[0], _null(daemon, "slow"), speed=1)
    transaction.backup(sources[1], _null(daemon, "bad", bad=True))
    slow, failing = transaction.commit()
    with pytest.raises(JobFailed):
        failing.wait(timeout=10)
    slow.set_speed(0)
    slow.run(timeout=10)


def test_its_jobs_keep_their_flags(daemon: StorageDaemon) -> None:
    transaction = daemon.transaction()
    source, target = _null(daemon, "s"), _null(daemon, "t")
    transaction.backup(source, target, job_id="mine", auto_finalize=False, auto_dismiss=False)
    (job,) = transaction.commit()
    with job:
        job.wait(until="pending", timeout=10)
        job.finalize()
        job.wait(timeout=10)
        assert [info.id for info in daemon.qmp.execute(QueryJobs())] == ["mine"]
    assert daemon.qmp.execute(QueryJobs()) == []


def test_snapshots_of_two_disks_are_taken_together(
    daemon: StorageDaemon, disk: Node, make_image: MakeImage
) -> None:
    other = daemon.add_node(
        Qcow2(node_name="other", file=File(filename=str(make_image("other.qcow2"))))
    )
    transaction = daemon.transaction()
    for node in (disk, other):
        path = make_image(f"{node.name}-top.qcow2")
        overlay = daemon.add_node(
            Qcow2(node_name=f"{node.name}-top", file=File(filename=str(path)), backing=None)
        )
        transaction.snapshot(node, overlay)
    transaction.commit()
    edges = {(edge.parent.name, edge.name, edge.child.name) for edge in daemon.graph().edges}
    assert {("disk-top", "backing", "disk"), ("other-top", "backing", "other")} <= edges


def test_qemu_creates_an_overlay(daemon: StorageDaemon, disk: Node, tmp_path: Path) -> None:
    path = tmp_path / "overlay.qcow2"
    # QEMU drops an overlay that nobody uses.
    with daemon.start_nbd_server() as server, server.export(disk, writable=True) as export:
        transaction = daemon.transaction()
        transaction.snapshot_sync(disk, str(path), snapshot_node_name="top", format="qcow2")
        transaction.commit()
        assert daemon.node("top").query_info().backing_file == disk.query_info().file
        export.write(0, 65536, pattern=9)
    assert '"depth": 1' in run("qemu-img", "map", "-U", "--output=json", path)


def test_snapshots_inside_images_are_taken_together(daemon: StorageDaemon, disk: Node) -> None:
    transaction = daemon.transaction()
    transaction.snapshot_internal(disk, "before")
    transaction.commit()
    snapshots = disk.query_info().image.snapshots
    assert snapshots is not None
    assert [snapshot.name for snapshot in snapshots] == ["before"]


def test_a_transaction_that_is_given_up_leaves_no_job() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            nodes = [await daemon.add_node(NullCo(node_name=name, size=1 << 30)) for name in "abcd"]
            for turns in range(8):
                transaction = daemon.transaction()
                transaction.backup(nodes[0], nodes[1], speed=1)
                transaction.backup(nodes[2], nodes[3], speed=1)
                committing = asyncio.create_task(transaction.commit())
                for _ in range(turns):
                    await asyncio.sleep(0)
                committing.cancel()
                (done,), _ = await asyncio.wait((committing,))
                if not done.cancelled():
                    for job in done.result():
                        await job.cancel()
                assert await daemon.qmp.execute(QueryJobs()) == []

    asyncio.run(main())


def test_a_transaction_on_a_lost_connection_says_so(daemon: StorageDaemon, disk: Node) -> None:
    transaction = daemon.transaction()
    transaction.add_bitmap(disk.bitmap("b"))
    daemon.process.kill()
    with pytest.raises(ConnectionLost, match=r"^transaction of 1 actions: .*signal 9"):
        transaction.commit()


def test_a_transaction_that_takes_too_long_is_unknown_in_outcome(daemon: StorageDaemon) -> None:
    transaction = daemon.transaction()
    transaction.add_bitmap(_null(daemon, "n").bitmap("b"))
    with suspended(daemon), pytest.raises(DeadlineExceeded):
        transaction.commit(timeout=0.1)


@pytest.mark.parametrize("verb", ["enable", "disable", "clear", "remove", "merge", "add"])
def test_bad_input_of_each_action_is_refused_and_undone(
    daemon: StorageDaemon, disk: Node, verb: str
) -> None:
    good, missing = disk.add_bitmap("good"), disk.bitmap("missing")
    transaction = daemon.transaction()
    transaction.disable_bitmap(good)
    verbs: dict[str, Callable[[], None]] = {
        "enable": lambda: transaction.enable_bitmap(missing),
        "disable": lambda: transaction.disable_bitmap(missing),
        "clear": lambda: transaction.clear_bitmap(missing),
        "remove": lambda: transaction.remove_bitmap(missing),
        "merge": lambda: transaction.merge_bitmaps(missing, [good]),
        "add": lambda: transaction.add_bitmap(good),
    }
    verbs[verb]()
    with pytest.raises((TransactionFailed, GraphError), match="good" if verb == "add" else "miss"):
        transaction.commit()
    assert good.query_info().recording


def test_a_bitmap_that_it_adds_can_be_disabled_in_it(daemon: StorageDaemon, disk: Node) -> None:
    transaction = daemon.transaction()
    transaction.add_bitmap(disk.bitmap("new"))
    transaction.disable_bitmap(disk.bitmap("new"))
    transaction.commit()
    assert disk.bitmap("new").query_matches(recording=False)
