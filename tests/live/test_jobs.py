"""Backups and other jobs on a real storage daemon: done, failed, cancelled."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from qemu_blocksdk import Job, Node, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, NullCo, Qcow2
from qemu_blocksdk.errors import (
    CommandError,
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
)
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.wire import BlockDirtyInfo, JobStatusChange, QueryJobs
from tests.live.helpers import MakeImage, are_equal, run, write_with_qemu_io

pytestmark = pytest.mark.timeout(30)


def _attach(daemon: StorageDaemon, name: str, path: Path) -> Node:
    return daemon.add_node(Qcow2(node_name=name, file=File(filename=str(path))))


def _only_bitmap(node: Node) -> BlockDirtyInfo:
    bitmaps = node.query_info().dirty_bitmaps
    assert bitmaps is not None
    assert len(bitmaps) == 1
    return bitmaps[0]


@pytest.fixture
def slow_job(daemon: StorageDaemon) -> Job:
    """A backup that does not end by itself."""
    source = daemon.add_node(NullCo(node_name="endless", size=1 << 30))
    target = daemon.add_node(NullCo(node_name="sink", size=1 << 30))
    return source.start_backup(target, speed=1)


def test_a_full_backup_equals_its_source(daemon: StorageDaemon, make_image: MakeImage) -> None:
    source = make_image("source.qcow2", write="-P 7 1M 4M")
    target = make_image("target.qcow2")
    node = _attach(daemon, "source", source)
    target_node = _attach(daemon, "target", target)
    node.backup(target_node, timeout=20)
    assert daemon.qmp.execute(QueryJobs()) == []
    target_node.delete()
    assert are_equal(source, target)


def test_an_incremental_backup_holds_what_the_bitmap_saw(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    source = make_image("source.qcow2", write="-P 1 0 8M")
    full = make_image("full.qcow2")
    node = _attach(daemon, "source", source)
    bitmap = node.add_bitmap("seen", granularity=65536, persistent=True)
    full_node = _attach(daemon, "full", full)
    node.backup(full_node, timeout=20)
    full_node.delete()
    with daemon.start_nbd_server() as server, server.export(node, writable=True) as export:
        write_with_qemu_io(str(export.uri), "write -P 2 1M 128k", "write -P 3 10M 64k", fmt="raw")
    bitmap_info = _only_bitmap(node)
    assert (bitmap_info.name, bitmap_info.count) == ("seen", 192 * 1024)

    increment = make_image("increment.qcow2", backing=full)
    target = daemon.add_node(
        Qcow2(
            node_name="increment",
            file=File(filename=str(increment)),
            backing=Qcow2(file=File(filename=str(full)), read_only=True),
        )
    )
    node.backup(target, sync="incremental", bitmap=bitmap, timeout=20)
    target.delete()
    assert _only_bitmap(node).count == 0
    node.delete()
    assert not are_equal(source, full)
    assert are_equal(source, increment)
    mapped = run("qemu-img", "map", "-U", "--output=json", increment)
    assert '"depth": 0' in mapped
    assert '"depth": 1' in mapped


def test_a_bitmap_is_added_once_and_removed(daemon: StorageDaemon, make_image: MakeImage) -> None:
    node = _attach(daemon, "disk", make_image())
    bitmap = node.add_bitmap("b", disabled=True)
    info = _only_bitmap(node)
    assert (info.name, info.recording) == ("b", False)
    with pytest.raises(CommandError, match="already exists") as caught:
        node.add_bitmap("b")
    assert "\n" not in str(caught.value)
    bitmap.remove()
    assert not node.query_info().dirty_bitmaps
    with pytest.raises(CommandError, match="not found"):
        bitmap.remove()


def test_progress_ends_with_all_done(daemon: StorageDaemon, make_image: MakeImage) -> None:
    node = _attach(daemon, "source", make_image("source.qcow2", write="-P 7 0 16M"))
    target = _attach(daemon, "target", make_image("target.qcow2"))
    readings = list(node.start_backup(target, speed=32 << 20).progress(interval=0.02))
    assert len(readings) > 2
    assert readings[-1].current == readings[-1].total == 16 << 20
    assert readings[-1].fraction == 1.0
    assert readings[-1].status == "null"
    counts = [reading.current for reading in readings]
    assert counts == sorted(counts)


def test_progress_of_a_job_that_fails_raises_at_its_end(daemon: StorageDaemon) -> None:
    job = _failing(daemon)
    with pytest.raises(JobFailed):
        list(job.progress(interval=0.01))


def test_progress_that_nobody_reads_to_the_end_leaves_the_job_alone(slow_job: Job) -> None:
    for reading in slow_job.progress(interval=0.01):
        assert reading.total == 1 << 30
        break
    assert not slow_job.is_over
    slow_job.cancel()


def _failing(daemon: StorageDaemon, *, error: int | None = None) -> Job:
    source = daemon.add_node(NullCo(node_name="source", size=1 << 20, read_zeroes=False))
    rule = BlkdebugInjectErrorOptions(event="none", iotype="write", errno=error)
    sink = NullCo(size=1 << 20)
    target = daemon.add_node(Blkdebug(node_name="target", image=sink, inject_error=[rule]))
    return source.start_backup(target)


def test_a_job_that_fails_says_so_in_qemus_words(daemon: StorageDaemon) -> None:
    job = _failing(daemon)
    with pytest.raises(JobFailed, match="Input/output error") as caught:
        job.wait(timeout=10)
    assert caught.value.job_id == job.id
    assert caught.value.job_type == "backup"
    assert "\n" not in str(caught.value)
    assert daemon.qmp.execute(QueryJobs()) == []
    with pytest.raises(JobFailed):  # and again, as often as one asks
        job.wait(timeout=10)
    assert job.is_over


def test_a_target_without_space_fails_the_job(daemon: StorageDaemon) -> None:
    with pytest.raises(JobFailed, match="No space left on device"):
        _failing(daemon, error=28).run(timeout=10)


def test_a_full_disk_under_the_target_fails_the_job(
    daemon: StorageDaemon, make_image: MakeImage, full_disk: Path
) -> None:
    node = _attach(daemon, "source", make_image("source.qcow2", write="-P 7 0 16M"))
    target = full_disk / "target.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", target, "16M")
    with pytest.raises(JobFailed, match="No space left on device") as caught:
        node.backup(_attach(daemon, "target", target), timeout=20)
    assert "\n" not in str(caught.value)
    assert daemon.qmp.execute(QueryJobs()) == []
    daemon.node("target").delete()


def test_a_job_is_cancelled_and_waited_for(daemon: StorageDaemon, slow_job: Job) -> None:
    begin = time.monotonic()
    slow_job.cancel()
    assert time.monotonic() - begin < 2
    assert slow_job.is_over
    assert daemon.qmp.execute(QueryJobs()) == []
    with pytest.raises(JobCancelled, match="was cancelled") as caught:
        slow_job.wait(timeout=5)
    assert caught.value.job_id == slow_job.id
    slow_job.cancel()  # may be repeated


def test_a_waiter_is_told_that_the_job_was_cancelled_by_somebody_else(
    daemon: StorageDaemon, slow_job: Job
) -> None:
    daemon.qmp.execute_raw("job-cancel", {"id": slow_job.id})
    with pytest.raises(JobCancelled):
        slow_job.wait(timeout=5)


def test_leaving_the_block_of_a_job_cancels_it(daemon: StorageDaemon, slow_job: Job) -> None:
    with slow_job:
        assert slow_job.status == "running"
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_wait_that_times_out_leaves_the_job_alone(slow_job: Job) -> None:
    with pytest.raises(DeadlineExceeded, match=slow_job.id) as caught:
        slow_job.wait(timeout=0.05)
    assert caught.value.seconds == 0.05
    assert not slow_job.is_over
    slow_job.cancel()


def test_a_run_that_times_out_cancels_the_job(daemon: StorageDaemon, slow_job: Job) -> None:
    with pytest.raises(DeadlineExceeded):
        slow_job.run(timeout=0.05)
    assert slow_job.is_over
    assert daemon.qmp.execute(QueryJobs()) == []


def test_a_job_that_qemu_refuses_to_start_leaves_nothing(daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="n", size=1 << 20))
    small = daemon.add_node(NullCo(node_name="small", size=1 << 10))
    with pytest.raises(CommandError, match="blockdev-backup: ") as caught:
        node.start_backup(small)
    assert caught.value.command == "blockdev-backup"
    assert caught.value.arguments["target"] == "small"
    assert daemon.qmp.execute(QueryJobs()) == []


def test_two_jobs_of_one_name_are_refused(daemon: StorageDaemon) -> None:
    nodes = [daemon.add_node(NullCo(node_name=f"n{i}", size=1 << 30)) for i in range(4)]
    with (
        nodes[0].start_backup(nodes[1], job_id="mine", speed=1) as first,
        pytest.raises(CommandError, match="mine"),
    ):
        nodes[2].start_backup(nodes[3], job_id="mine")
    assert first.is_over


def test_a_job_of_one_hundred_at_once_ends_as_its_own() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:

            async def one(i: int) -> None:
                source = await daemon.add_node(NullCo(node_name=f"s{i}", size=1 << 26))
                target = await daemon.add_node(NullCo(node_name=f"t{i}", size=1 << 26))
                job = await source.start_backup(target, speed=1 if i % 3 == 0 else 0)
                if i % 3 == 0:
                    await job.cancel()
                    with pytest.raises(JobCancelled):
                        await job.wait()
                else:
                    await job.run()
                await source.delete()
                await target.delete()

            async with asyncio.timeout(25):
                await asyncio.gather(*(one(i) for i in range(100)))
            assert await daemon.qmp.execute(QueryJobs()) == []

    asyncio.run(main())


def test_a_cancelled_start_leaves_no_job() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            source = await daemon.add_node(NullCo(node_name="s", size=1 << 30))
            target = await daemon.add_node(NullCo(node_name="t", size=1 << 30))
            for turns in range(8):
                starting = asyncio.create_task(source.start_backup(target, speed=1))
                for _ in range(turns):
                    await asyncio.sleep(0)
                starting.cancel()
                (done,), _ = await asyncio.wait((starting,))
                if not done.cancelled():
                    await done.result().cancel()
                assert await daemon.qmp.execute(QueryJobs()) == []

    asyncio.run(main())


def test_events_of_a_job_arrive_in_order(daemon: StorageDaemon) -> None:
    source = daemon.add_node(NullCo(node_name="s", size=1 << 20))
    target = daemon.add_node(NullCo(node_name="t", size=1 << 20))
    with daemon.qmp.events(JobStatusChange.where(id="seen")) as events:
        source.backup(target, job_id="unseen", timeout=10)
        source.backup(target, job_id="seen", timeout=10)
        statuses = [events.get(timeout=5).status]
        while statuses[-1] != "null":
            statuses.append(events.get(timeout=5).status)
    assert statuses[:2] == ["created", "running"]
    assert statuses[-4:] == ["waiting", "pending", "concluded", "null"]
    assert statuses.count("created") == 1


def test_cancelling_a_job_that_is_over_leaves_another_of_its_name_alone(
    daemon: StorageDaemon,
) -> None:
    source, target = (
        daemon.add_node(NullCo(node_name=name, size=1 << 30)) for name in ("src", "dst")
    )
    first = source.start_backup(target, job_id="mine")
    first.run()
    with source.start_backup(target, job_id="mine", speed=65536) as second:
        first.cancel()
        assert [job.id for job in daemon.qmp.execute(QueryJobs())] == ["mine"]
        assert not second.is_over


def test_a_cancellation_is_not_replaced_by_the_error_of_its_clean_up() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon(command_timeout=0.5) as daemon:
            nodes = [
                await daemon.add_node(NullCo(node_name=name, size=1 << 30)) for name in ("a", "b")
            ]
            with suspended(daemon):
                starting = asyncio.create_task(nodes[0].start_backup(nodes[1]))
                await asyncio.wait((starting,), timeout=0.05)
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting

    asyncio.run(main())
