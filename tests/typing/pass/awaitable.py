"""The awaitable face has the same types."""

from typing import assert_type

from qemu_blocksdk.aio import AsyncJob, AsyncNode, AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.codec import Event
from qemu_blocksdk.jobs import JobProgress
from qemu_blocksdk.wire import JobInfo, JobStatusChange, QueryJobs


async def main() -> None:
    async with AsyncStorageDaemon() as daemon:
        options = Qcow2(node_name="disk", file=File(filename="disk.qcow2"))
        node = await daemon.add_node(options)
        assert_type(node, AsyncNode)
        job = await node.start_backup(node)
        assert_type(job, AsyncJob)
        async for progress in job.progress():
            assert_type(progress, JobProgress)
        assert_type(await daemon.qmp.execute(QueryJobs()), list[JobInfo])
        async for event in daemon.qmp.events(JobStatusChange.where(id=job.id)):
            assert_type(event, JobStatusChange)
        assert_type(await daemon.qmp.events().get(), Event)
