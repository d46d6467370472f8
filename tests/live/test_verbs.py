"""A verb does its work and returns the result; `start_VERB` returns it in flight."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from qemu_blocksdk import Backup, Image, Job, Operation, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Raw
from qemu_blocksdk.jobs import JobProgress
from tests.live.helpers import MakeImage

MIB = 1 << 20
pytestmark = pytest.mark.timeout(60)


def test_every_start_has_a_verb_that_does_the_work() -> None:
    import qemu_blocksdk

    classes = [getattr(qemu_blocksdk, name) for name in qemu_blocksdk.__all__]
    starts = {
        (cls, name)
        for cls in classes
        for name in dir(cls)
        if name.startswith("start_") and name not in {"start_nbd_server", "start_postcopy"}
    }
    assert len(starts) >= 20
    for cls, name in starts:
        verb = getattr(cls, name.removeprefix("start_"))
        assert {"on_progress", "timeout"} <= set(verb.__annotations__)
        returned = getattr(cls, name).__annotations__["return"]
        assert returned == "Job" or returned.startswith("Operation[")


def test_progress_of_a_job_comes_in_the_callers_thread(tmp_path: Path) -> None:
    seen: list[tuple[JobProgress, threading.Thread]] = []
    with StorageDaemon() as daemon:
        disk = daemon.add_node(NullCo(node_name="disk", size=8 * MIB))
        copy = daemon.add_node(NullCo(node_name="copy", size=8 * MIB))
        result = disk.backup(
            copy, on_progress=lambda it: seen.append((it, threading.current_thread()))
        )
    assert result.outcome == "completed"
    assert {thread for _, thread in seen} == {threading.main_thread()}
    assert seen[-1][0].fraction == 1.0


def test_what_a_callback_raises_cancels_the_job() -> None:
    def refuse(_: JobProgress) -> None:
        raise ZeroDivisionError

    with StorageDaemon() as daemon:
        disk = daemon.add_node(NullCo(node_name="disk", size=8 * MIB))
        copy = daemon.add_node(NullCo(node_name="copy", size=8 * MIB))
        with pytest.raises(ZeroDivisionError):
            disk.backup(copy, speed=1, on_progress=refuse)
        assert daemon.query_jobs() == []


def test_both_faces_have_the_verbs() -> None:
    async def work() -> list[float]:
        seen: list[float] = []
        async with AsyncStorageDaemon() as daemon:
            disk = await daemon.add_node(NullCo(node_name="disk", size=8 * MIB))
            copy = await daemon.add_node(NullCo(node_name="copy", size=8 * MIB))
            await disk.mirror(copy, on_progress=lambda it: seen.append(it.fraction))
            with pytest.raises(ZeroDivisionError):
                await disk.backup(copy, speed=1, on_progress=lambda _: 1 / 0)
            assert await daemon.query_jobs() == []
        return seen

    assert asyncio.run(work())[-1] == 1.0


def test_a_start_returns_the_work_in_flight(make_image: MakeImage, tmp_path: Path) -> None:
    image = Image(make_image(write="-P 1 0 1M"), format="qcow2")
    with image.start_convert(Image(tmp_path / "copy", format="qcow2")) as operation:
        assert isinstance(operation, Operation)
    with StorageDaemon() as daemon:
        disk = daemon.add_node(NullCo(node_name="disk", size=MIB))
        copy = daemon.add_node(NullCo(node_name="copy", size=MIB))
        with disk.start_backup(copy, speed=1) as job:
            assert isinstance(job, Job)
        assert daemon.query_jobs() == []


def test_a_backup_reports_progress_and_returns_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x" * MIB)
    copy = Image(tmp_path / "copy.qcow2", format="qcow2")
    seen: list[float] = []
    with StorageDaemon() as daemon:
        disk = daemon.add_node(Raw(node_name="disk", file=File(filename=str(tmp_path / "disk"))))
        backup = Backup(daemon, persistent=False)
        backup.add_disk(disk, copy)
        backup.full(on_progress=lambda it: seen.append(it.fraction))
    assert seen[-1] == 1.0
    assert copy.compare(Image(tmp_path / "disk", format="raw")).is_equal
