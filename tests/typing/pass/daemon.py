"""The script of the README, with the types that a reader of it may count on."""

from typing import assert_type

from qemu_blocksdk import Bitmap, Job, Node, StorageDaemon
from qemu_blocksdk.blockdev import NULL, File, Qcow2
from qemu_blocksdk.wire import BlockDeviceInfo, JobInfo, JobStatusChange, QueryJobs

with StorageDaemon() as daemon:
    node = daemon.add_node(Qcow2(node_name="disk", file=File(filename="disk.qcow2"), backing=NULL))
    assert_type(node, Node)
    assert_type(node.query_info(), BlockDeviceInfo)
    assert_type(node.query_info().image.virtual_size, int)
    assert_type(node.add_bitmap("b0"), Bitmap)
    assert_type(node.start_backup(node, sync="full"), Job)
    assert_type(daemon.qmp.execute(QueryJobs()), list[JobInfo])
    for event in daemon.qmp.events(JobStatusChange.where(id="job0")):
        assert_type(event, JobStatusChange)
