"""Wire types refuse what QEMU would: each marked line is red, and no other line is."""

from qemu_blocksdk import wire
from qemu_blocksdk.codec import NULL
from qemu_blocksdk.wire import (
    BlockdevAdd,
    BlockExportOptionsNbd,
    File,
    JobInfo,
    JobPause,
    Qcow2,
    QueryJobs,
    Transaction,
)

BlockdevAdd(options=QueryJobs())  # error: "BlockdevAdd" has incompatible type "QueryJobs"
BlockdevAdd(options="disk")  # error: "BlockdevAdd" has incompatible type "str"
Qcow2(file=NULL)  # error: Argument "file" to "Qcow2" has incompatible type "Null"
Qcow2(file="f", backing=File())  # error: Missing named argument "filename" for "File"
Qcow2(file="f", driver="raw")  # error: Unexpected keyword argument "driver" for "Qcow2"
File(filename="f", locking="yes")  # error: "File" has incompatible type "Literal['yes']"
BlockExportOptionsNbd(id="e", node_name="n", bitmaps=NULL)  # error: has incompatible type "Null"
Transaction(actions=[JobPause(id="j")])  # error: List item 0 has incompatible type "JobPause"
print(wire.BlockdevRefs)  # error: Module has no attribute "BlockdevRefs"


def is_over(job: JobInfo) -> bool:
    return job.status == "conclude"  # error: Non-overlapping equality check
