"""A job's life from start to dismissal: what is asked of it, what others do to it, how it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Job, Node, StorageDaemon
from qemu_blocksdk.aio import AsyncJob, AsyncNode, AsyncStorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, NullCo, Qcow2
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
    JobStopped,
    StateError,
)
from qemu_blocksdk.jobs import JobResult
from qemu_blocksdk.wire import (
    BlockdevBackup,
    BlockdevCreateOptionsQcow2,
    BlockdevOnError,
    BlockJobSetSpeed,
    JobStatus,
    JobStatusChange,
    JobType,
    QueryJobs,
)
from tests.live.helpers import MakeImage, are_equal, write_with_qemu_io

pytestmark = pytest.mark.timeout(30)


def _start(
    daemon: StorageDaemon,
    *,
    kind: JobType = "mirror",
    speed: int | None = None,
    auto_finalize: bool = True,
    auto_dismiss: bool = True,
    job_id: str = "job",
) -> Job:
    """Start a job from `source` to `target`, two empty nodes."""
    for name in ("source", "target"):
        if name not in {node.name for node in daemon.graph().nodes}:
            daemon.add_node(NullCo(node_name=name, size=1 << 26))
    source, target = daemon.node("source"), daemon.node("target")
    return (source.start_mirror if kind == "mirror" else source.start_backup)(
        target,
        job_id=job_id,
        speed=speed,
        auto_finalize=auto_finalize,
        auto_dismiss=auto_dismiss,
    )


def _jobs(daemon: StorageDaemon) -> list[str]:
    return [job.id for job in daemon.qmp.execute(QueryJobs())]


# -- run ------------------------------------------------------------------------------------


def test_run_takes_a_mirror_through_ready_to_its_end(daemon: StorageDaemon) -> None:
    job = _start(daemon)
    result = job.run(timeout=10)
    assert result == JobResult(job_id="job", job_type="mirror", outcome="completed")
    assert job.result == result
    assert (job.status, job.is_over) == ("null", True)
    assert repr(job) == "<mirror job 'job': completed>"
    assert _jobs(daemon) == []


def test_before_it_is_finalized_the_caller_is_called_in_his_own_thread(
    daemon: StorageDaemon,
) -> None:
    job = _start(daemon, auto_finalize=False)
    calls: list[tuple[int, str]] = []
    job.run(
        pre_finalize=lambda: calls.append((threading.get_ident(), job.status)),
        timeout=10,
    )
    assert calls == [(threading.get_ident(), "pending")]


def test_a_pending_job_can_be_cancelled_instead_of_finalized(daemon: StorageDaemon) -> None:
    job = _start(daemon, kind="backup", auto_finalize=False)
    order: list[str] = []
    result = job.run(pre_finalize=lambda: order.append("called"), cancel=True, timeout=10)
    assert result.outcome == "cancelled"
    assert order == ["called"]
    assert _jobs(daemon) == []


def test_a_call_before_the_end_that_raises_leaves_no_job(daemon: StorageDaemon) -> None:
    def fail() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match=r"^mine$"):
        _start(daemon, kind="backup", auto_finalize=False).run(pre_finalize=fail, timeout=10)
    assert _jobs(daemon) == []


def test_an_awaitable_job_awaits_what_it_calls_before_the_end() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            source = await daemon.add_node(NullCo(node_name="source", size=1 << 20))
            target = await daemon.add_node(NullCo(node_name="target", size=1 << 20))
            job = await source.start_backup(target, auto_finalize=False)
            asked: list[str] = []

            async def ask() -> None:
                asked.append((await job.query_info()).status)

            await job.run(pre_finalize=ask, timeout=10)
            assert asked == ["pending"]

    asyncio.run(main())


def test_the_result_of_a_failure_is_raised_or_returned(daemon: StorageDaemon) -> None:
    with pytest.raises(JobFailed, match="Input/output error"):
        _failing(daemon).run(timeout=10)
    result = _failing(daemon).run(timeout=10, check=False)
    assert (result.outcome, result.error) == ("failed", "Input/output error")
    with pytest.raises(JobFailed, match="Input/output error"):
        result.check()


def test_a_job_that_fails_at_once_is_still_a_job(daemon: StorageDaemon, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.touch()
    file = daemon.add_node(File(node_name="file", filename=str(path)))
    options = BlockdevCreateOptionsQcow2(file="file", size=1000)
    job = daemon.start_create(options, job_id="create")
    with pytest.raises(JobFailed, match=r"create job 'create' failed: .*multiple of 512") as caught:
        job.run(timeout=10)
    assert caught.value.job_type == "create"
    assert _jobs(daemon) == []
    file.delete()


# -- flags ------------------------------------------------------------------------------------


def test_a_job_that_nobody_holds_is_dismissed_when_it_is_over(daemon: StorageDaemon) -> None:
    events = daemon.qmp.events(JobStatusChange.where(id="job"))
    _start(daemon, kind="backup", speed=1)
    gc.collect()
    daemon.qmp.execute(BlockJobSetSpeed(device="job", speed=0))
    events.get(timeout=10, where=lambda event: event.status == "null")


def test_a_job_stays_concluded_until_it_is_dismissed(daemon: StorageDaemon) -> None:
    job = _start(daemon, kind="backup", auto_dismiss=False)
    job.wait(timeout=10)
    assert job.query_info().status == job.status == "concluded"
    with pytest.raises(CommandError, match="backup job 'job': completed: job-pause: "):
        job.pause()
    job.dismiss()
    assert (job.status, _jobs(daemon)) == ("null", [])
    with pytest.raises(StateError, match="backup job 'job': completed: dismiss is not possible"):
        job.dismiss()


def test_leaving_the_block_dismisses_what_is_concluded(daemon: StorageDaemon) -> None:
    with _start(daemon, kind="backup", auto_dismiss=False) as job:
        job.wait(timeout=10)
        assert _jobs(daemon) == ["job"]
    assert _jobs(daemon) == []


def test_a_job_waits_pending_until_it_is_finalized(daemon: StorageDaemon) -> None:
    job = _start(daemon, kind="backup", auto_finalize=False)
    job.wait(until="pending", timeout=10)
    assert not job.is_over
    with pytest.raises(DeadlineExceeded, match="the end of backup job 'job': pending"):
        job.wait(timeout=0.05)
    job.finalize()
    job.wait(timeout=10)
    with pytest.raises(StateError, match="finalize"):
        job.finalize()


def test_leaving_the_block_cancels_what_is_pending(daemon: StorageDaemon) -> None:
    with _start(daemon, kind="backup", auto_finalize=False) as job:
        job.wait(until="pending", timeout=10)
    assert job.result is not None
    assert job.result.outcome == "cancelled"
    assert _jobs(daemon) == []


# -- verbs ------------------------------------------------------------------------------------


def test_a_paused_job_stands_still_until_it_is_resumed(daemon: StorageDaemon) -> None:
    job = _start(daemon, speed=1 << 20)
    job.pause(timeout=10)
    assert job.status == "paused"
    before = job.query_info().current_progress
    with pytest.raises(CommandError, match=r"mirror job 'job': paused: job-pause: .*already"):
        job.pause()
    job.set_speed(0)
    assert job.query_info().current_progress == before
    job.resume()
    job.wait(until="ready", timeout=10)
    with pytest.raises(CommandError, match="mirror job 'job': ready: job-resume: "):
        job.resume()
    job.cancel()


def test_the_speed_is_what_was_set(daemon: StorageDaemon) -> None:
    with _start(daemon, speed=1) as job:
        job.set_speed(12345)
        info = job.query_block_info()
        assert info is not None
        assert info.type == "mirror"
        assert info.speed == 12345
        with pytest.raises(BlockSdkError, match=r"mirror job 'job': running: .*'speed'"):
            job.set_speed(-1)


def test_a_verb_that_the_status_forbids_is_refused_in_qemus_words(daemon: StorageDaemon) -> None:
    with _start(daemon, kind="backup", speed=1) as job:
        for verb, name in ((job.complete, "complete"), (job.finalize, "finalize")):
            with pytest.raises(CommandError, match="in state 'running'") as caught:
                verb()
            assert caught.value.subject == "backup job 'job': running"
            assert f"job-{name}: " in str(caught.value)


def test_no_verb_reaches_another_job_of_the_same_id(daemon: StorageDaemon) -> None:
    first = _start(daemon, kind="backup")
    first.run(timeout=10)
    with _start(daemon, kind="backup", speed=1) as second:
        verbs: list[Callable[[], object]] = [
            first.pause,
            first.resume,
            first.complete,
            first.finalize,
            first.dismiss,
            first.query_info,
            lambda: first.set_speed(7),
        ]
        for verb in verbs:
            with pytest.raises(StateError, match="backup job 'job': completed"):
                verb()
        first.cancel()
        assert second.status == "running"
        assert second.query_info().status == "running"


def test_cancelling_a_ready_mirror_by_force_discards_it(daemon: StorageDaemon) -> None:
    job = _start(daemon)
    job.wait(until="ready", timeout=10)
    job.cancel()
    assert job.result is not None
    assert job.result.outcome == "cancelled"


def test_cancelling_a_ready_mirror_softly_leaves_a_copy(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = {"source": make_image("s.qcow2", write="-P 7 1M 2M"), "target": make_image("t.qcow2")}
    for name, path in paths.items():
        daemon.add_node(Qcow2(node_name=name, file=File(filename=str(path))))
    job = _start(daemon)
    job.wait(until="ready", timeout=10)
    job.cancel(force=False)
    assert job.result is not None
    assert job.result.outcome == "completed"
    daemon.node("target").delete()
    daemon.node("source").delete()
    assert are_equal(paths["source"], paths["target"])


def test_cancelling_softly_before_a_mirror_is_ready_discards_it(daemon: StorageDaemon) -> None:
    job = _start(daemon, speed=1)
    job.cancel(force=False)
    assert job.result is not None
    assert job.result.outcome == "cancelled"


def test_a_soft_cancellation_that_has_to_be_finalized_returns_when_it_is_pending(
    daemon: StorageDaemon,
) -> None:
    with _start(daemon, auto_finalize=False) as job:
        job.wait(until="ready", timeout=10)
        job.cancel(force=False, timeout=10)
        assert (job.status, job.result) == ("pending", None)
        assert job.run(timeout=10).outcome == "completed"


# -- waiting ------------------------------------------------------------------------------------


def test_a_status_that_cannot_come_any_more_is_not_waited_for(daemon: StorageDaemon) -> None:
    job = _start(daemon, kind="backup", auto_dismiss=False)
    with job:
        with pytest.raises(StateError, match="becoming ready is not possible"):
            job.wait(until="ready", timeout=10)
        job.wait(until="running", timeout=10)  # it was
    failed = _failing(daemon)
    with pytest.raises(JobFailed):
        failed.wait(until="ready", timeout=10)


def test_several_wait_for_one_job_each_for_his_own() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            source = await daemon.add_node(NullCo(node_name="source", size=1 << 20))
            target = await daemon.add_node(NullCo(node_name="target", size=1 << 20))
            job = await source.start_mirror(target)
            waits = [
                asyncio.create_task(job.wait(timeout=10)),
                asyncio.create_task(job.wait(until="ready", timeout=10)),
                asyncio.create_task(job.wait(until="concluded", timeout=10)),
            ]
            await waits[1]
            assert [wait.done() for wait in waits] == [False, True, False]
            await job.complete()
            await asyncio.gather(*waits)

    asyncio.run(main())


# -- I/O errors ---------------------------------------------------------------------------------


def _failing(
    daemon: StorageDaemon, *, on_error: BlockdevOnError = "report", once: bool = True
) -> Job:
    """Start a backup to a target whose writes fail, the first or all."""
    known = {node.name for node in daemon.graph().nodes}
    rule = BlkdebugInjectErrorOptions(event="none", iotype="write", once=once)
    if "bad-target" in known:
        daemon.node("bad-target").delete()
    else:
        daemon.add_node(NullCo(node_name="good", size=1 << 20, read_zeroes=False))
    bad = daemon.add_node(
        Blkdebug(node_name="bad-target", image=NullCo(size=1 << 20), inject_error=[rule])
    )
    return daemon.node("good").start_backup(bad, job_id="job", on_target_error=on_error)


def test_a_job_that_stops_on_an_error_goes_on_when_it_is_resumed(daemon: StorageDaemon) -> None:
    job = _failing(daemon, on_error="stop")
    with pytest.raises(JobStopped, match="backup job 'job' has stopped on a write error") as it:
        job.wait(timeout=10)
    assert (it.value.operation, it.value.job_id) == ("write", "job")
    assert (job.status, job.io_errors) == ("paused", 1)
    assert job.last_io_error is not None
    assert job.last_io_error.action == "stop"
    info = job.query_block_info()
    assert info is not None
    assert info.type == "backup"
    assert info.io_status == "failed"
    with pytest.raises(JobStopped):
        list(job.progress())
    job.resume()
    job.wait(timeout=10)
    assert job.result is not None
    assert job.result.outcome == "completed"


def test_run_cancels_a_job_that_stops_on_an_error(daemon: StorageDaemon) -> None:
    job = _failing(daemon, on_error="stop", once=False)
    with pytest.raises(JobStopped):
        job.run(timeout=10)
    assert job.result is not None
    assert job.result.outcome == "cancelled"
    assert _jobs(daemon) == []


def test_an_error_that_is_ignored_is_counted(daemon: StorageDaemon) -> None:
    job = _failing(daemon, on_error="ignore")
    assert job.run(timeout=10).outcome == "completed"
    assert job.io_errors == 1
    assert job.last_io_error is not None
    assert job.last_io_error.action == "ignore"


# -- others -------------------------------------------------------------------------------------


def test_a_job_that_another_client_finished_and_dismissed_has_its_outcome(
    daemon: StorageDaemon,
) -> None:
    job = _start(daemon, auto_finalize=False, auto_dismiss=False)
    job.wait(until="ready", timeout=10)
    steps: list[tuple[str, JobStatus]] = [
        ("complete", "pending"),
        ("finalize", "concluded"),
        ("dismiss", "null"),
    ]
    for verb, status in steps:
        daemon.qmp.execute_raw(f"job-{verb}", {"id": "job"})
        job.wait(until=status, timeout=10)
    assert job.result is not None
    assert job.result.outcome == "completed"


async def _dismissed_by_qemu(
    daemon: AsyncStorageDaemon, source: AsyncNode, target: AsyncNode, *, speed: int = 0
) -> AsyncJob:
    """Start a backup whose dismissal is QEMU's: as if another client were faster, each time."""
    command = BlockdevBackup(
        job_id="job",
        device=source.name,
        target=target.name,
        sync="full",
        speed=speed,
        auto_dismiss=True,
    )
    return await AsyncJob._start(daemon, command, job_id="job", kind="backup")


def test_a_job_that_another_client_dismisses_first_has_its_outcome() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            source = await daemon.add_node(NullCo(node_name="source", size=1 << 26))
            target = await daemon.add_node(NullCo(node_name="target", size=1 << 26))
            done = await _dismissed_by_qemu(daemon, source, target)
            assert (await done.run(timeout=10)).outcome == "completed"
            cancelled = await _dismissed_by_qemu(daemon, source, target, speed=1)
            await daemon.qmp.execute_raw("job-cancel", {"id": "job"})
            with pytest.raises(JobCancelled):
                await cancelled.wait(timeout=10)
            assert cancelled.status == "null"

    asyncio.run(main())


def test_the_words_of_a_failure_survive_a_thief() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            good = await daemon.add_node(NullCo(node_name="good", size=1 << 20, read_zeroes=False))
            rule = BlkdebugInjectErrorOptions(event="none", iotype="write")
            bad = await daemon.add_node(
                Blkdebug(node_name="bad", image=NullCo(size=1 << 20), inject_error=[rule])
            )
            job = await _dismissed_by_qemu(daemon, good, bad)
            with pytest.raises(JobFailed, match="Input/output error"):
                await job.wait(timeout=10)

    asyncio.run(main())


def test_a_job_that_somebody_else_started_is_attached(daemon: StorageDaemon) -> None:
    started = _start(daemon, kind="backup", speed=1, auto_finalize=False)
    job = daemon.attach_job("job")
    assert (job.kind, job.status, job.id) == ("backup", "running", "job")
    (same,) = daemon.query_jobs()
    assert same.id == "job"
    job.set_speed(0)
    job.wait(until="pending", timeout=10)
    assert job.run(timeout=10).outcome == "completed"
    started.wait(timeout=10)
    same.wait(timeout=10)


def test_a_job_that_was_over_before_it_is_attached_tells_how_it_ended(
    daemon: StorageDaemon,
) -> None:
    with _start(daemon, kind="backup", auto_dismiss=False) as job:
        job.wait(timeout=10)
        late = daemon.attach_job("job")
        late.wait(timeout=10)
        assert late.result == job.result
        assert _jobs(daemon) == ["job"]  # it is its owner's
    late.wait(until="null", timeout=10)


def test_a_job_that_is_not_there_cannot_be_attached(daemon: StorageDaemon) -> None:
    with pytest.raises(StateError, match="job 'nowhere': attach is not possible"):
        daemon.attach_job("nowhere")
    assert daemon.query_jobs() == []


# -- death --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    ["wait", "run", "pause", "resume", "complete", "finalize", "cancel", "query_info"],
)
def test_every_verb_says_that_qemu_has_died(daemon: StorageDaemon, verb: str) -> None:
    job = _start(daemon, speed=1)
    daemon.process.kill()
    with pytest.raises(ConnectionLost, match="killed by signal 9") as caught:
        getattr(job, verb)()
    assert caught.value.exit_status == -9
    if verb not in ("wait", "run"):
        assert str(caught.value).startswith("mirror job 'job': running: ")
    with job:
        pass  # leaving does not wait for the dead


def test_what_waits_when_qemu_dies_is_woken(daemon: StorageDaemon) -> None:
    job = _start(daemon, speed=1)
    timer = threading.Timer(0.1, daemon.process.kill)
    timer.start()
    with pytest.raises(ConnectionLost):
        job.run(timeout=20)
    timer.join()
    assert job.result is None


def test_data_written_while_a_mirror_is_ready_is_in_its_target(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    paths = {"source": make_image("s.qcow2"), "target": make_image("t.qcow2")}
    nodes: dict[str, Node] = {
        name: daemon.add_node(Qcow2(node_name=name, file=File(filename=str(path))))
        for name, path in paths.items()
    }
    with (
        daemon.start_nbd_server() as server,
        # Before the mirror: QEMU 10.0 does not see what goes past the job's filter.
        server.export(nodes["source"], writable=True) as export,
    ):
        job = _start(daemon)
        job.wait(until="ready", timeout=10)
        write_with_qemu_io(str(export.uri), "write -P 9 3M 1M", fmt="raw")
        job.run(timeout=10)
    for node in nodes.values():
        node.delete()
    assert are_equal(paths["source"], paths["target"])
