"""Wire types as a checker sees them: unions by their discriminator, alternates, replies."""

from typing import Literal, TypeVar, assert_type

from qemu_blocksdk.codec import NULL, Command, Null, Unknown
from qemu_blocksdk.wire import (
    Abort,
    BlockdevAdd,
    BlockdevCreate,
    BlockdevCreateOptionsQcow2,
    BlockdevOptions,
    BlockdevRef,
    BlockDirtyBitmapAdd,
    BlockExportAdd,
    BlockExportOptionsNbd,
    BlockJobInfo,
    BlockJobInfoMirror,
    File,
    JobInfo,
    JobStatus,
    MigrateSetParameters,
    Qcow2,
    QueryBlockJobs,
    QueryJobs,
    Transaction,
    TransactionActionAbort,
    TransactionActionBlockDirtyBitmapAdd,
    XDbgBlockGraph,
    XDebugQueryBlockGraph,
)

T = TypeVar("T")


def replies(command: Command[T]) -> T:
    raise NotImplementedError(command)


disk = Qcow2(node_name="disk", file=File(filename="disk.qcow2", locking="off"), backing=NULL)
assert_type(disk.driver, Literal["qcow2"])
assert_type(disk.node_name, str | None)
BlockdevAdd(options=disk)
BlockdevAdd(options=Qcow2(file="protocol", backing=disk))
BlockdevCreate(job_id="j", options=BlockdevCreateOptionsQcow2(file="f", size=1 << 30))
BlockExportAdd(options=BlockExportOptionsNbd(id="e", node_name="disk", bitmaps=["b"]))
MigrateSetParameters(tls_creds=NULL)
Transaction(
    actions=[
        TransactionActionBlockDirtyBitmapAdd(data=BlockDirtyBitmapAdd(node="disk", name="b")),
        TransactionActionAbort(data=Abort()),
    ]
)


def narrowed(options: BlockdevOptions, job: BlockJobInfo, reference: BlockdevRef) -> None:
    if options.driver == "qcow2":
        assert_type(options, Qcow2)
    if isinstance(job, Unknown):
        assert_type(job.tag, str | None)
    elif job.type == "mirror":
        assert_type(job, BlockJobInfoMirror)
        assert_type(job.actively_synced, bool | None)
    if not isinstance(reference, str) and reference.driver == "file":
        assert_type(reference.filename, str)


def told(job: JobInfo, jobs: QueryJobs, block_jobs: QueryBlockJobs) -> None:
    assert_type(job.status, JobStatus)
    assert_type(replies(jobs), list[JobInfo])
    assert_type(replies(block_jobs), list[BlockJobInfo])
    assert_type(replies(XDebugQueryBlockGraph()), XDbgBlockGraph)
    assert_type(disk.backing, BlockdevRef | Null | None)
