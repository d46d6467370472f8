"""Jobs of a recipe: waited for together, cancelled together, their progress told as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.jobs import JobProgress
from qemu_blocksdk.objects import AsyncJob
from qemu_blocksdk.qmp import gather, shielded

Tell = Callable[[float], None]
Drive = Callable[[AsyncJob], Coroutine[object, None, object]]


async def drive_all(jobs: Sequence[AsyncJob], drive: Drive, tell: Tell) -> None:
    """Bring all jobs to where ``drive`` brings one; when one fails, or is given up, cancel all.

    Jobs that are not over stay, unless it raises.
    """
    readings: dict[str, JobProgress] = {}

    async def report(job: AsyncJob) -> None:
        async for reading in job.progress():
            readings[job.id] = reading
            total = sum(each.total for each in readings.values())
            if len(readings) == len(jobs) and total:
                tell(min(1.0, sum(each.current for each in readings.values()) / total))

    reports = [asyncio.create_task(report(job)) for job in jobs]
    try:
        try:
            await gather(drive(job) for job in jobs)
        finally:
            for task in reports:
                task.cancel()
            outcomes = await asyncio.gather(*reports, return_exceptions=True)
        for outcome in outcomes:
            # What became of the job, its driver has said.
            if isinstance(outcome, Exception) and not isinstance(outcome, BlockSdkError):
                raise outcome
    except BaseException:
        await shielded(_unwind(jobs))
        raise


async def _unwind(jobs: Sequence[AsyncJob]) -> None:
    await asyncio.gather(*(job._unwind() for job in jobs))
