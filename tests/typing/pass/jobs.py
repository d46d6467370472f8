"""Jobs, bitmaps, transactions and recipes, with the types that one may count on."""

from collections.abc import Iterator
from typing import assert_type

from qemu_blocksdk import (
    Backup,
    Bitmap,
    Disk,
    Image,
    Job,
    Node,
    Operation,
    PointInTime,
    StorageDaemon,
)
from qemu_blocksdk.jobs import JobProgress, JobResult
from qemu_blocksdk.tools import NbdUri
from qemu_blocksdk.wire import BlockDirtyInfo, JobStatus, JobStatusChange

with StorageDaemon() as daemon:
    node, target = daemon.node("disk"), daemon.node("copy")
    job = node.start_mirror(target, copy_mode="write-blocking", auto_finalize=False)
    assert_type(job, Job)
    assert_type(job.status, JobStatus)
    job.wait(until="ready", timeout=1.5)
    assert_type(job.progress(), Iterator[JobProgress])
    assert_type(job.run(pre_finalize=lambda: print("now"), check=False), JobResult)
    assert_type(job.run().outcome == "completed", bool)
    assert_type(job.result, JobResult | None)
    assert_type(daemon.query_jobs(), list[Job])

    bitmap = node.bitmap("b")
    assert_type(bitmap, Bitmap)
    assert_type(bitmap.query_info(recording=True), BlockDirtyInfo)
    assert_type(bitmap.query_obstacle(), str | None)
    bitmap.merge([target.bitmap("c")])

    transaction = daemon.transaction(completion_mode="grouped")
    transaction.backup(node, target, sync="bitmap", bitmap=bitmap, bitmap_mode="never")
    assert_type(transaction.commit(), list[Job])

    events = daemon.qmp.events(JobStatusChange.where(id="b0"))
    assert_type(events.get(where=lambda event: event.status == "ready"), JobStatusChange)

    image = Image("copy.qcow2", format="qcow2")
    backup = Backup(daemon)
    backup.add_disk(node, image, base=image)
    assert_type(backup.start_incremental(), Operation[None])
    assert_type(Disk(daemon, node).node, Node)
    with PointInTime(daemon, node) as moment:
        assert_type(moment.front, Node)
        assert_type(moment.uri, NbdUri)
