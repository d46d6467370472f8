"""`evolve` of every value class, as of Python 3.13."""

# python_version=3.13

import copy
import sys
from typing import assert_type

from qemu_blocksdk.blockdev import NULL, BlockdevOptions, File, Qcow2
from qemu_blocksdk.tools import CreateQcow2, Programs
from qemu_blocksdk.wire import JobInfo, JobStatusChange, NbdServerStart

disk = Qcow2(node_name="disk", file=File(filename="a"))
assert_type(disk.evolve(discard="unmap", backing=NULL, node_name=None), Qcow2)
assert_type(disk.evolve(unknown_members={"from-newer": 1}), Qcow2)
if sys.version_info >= (3, 13):
    assert_type(copy.replace(disk, discard="unmap"), Qcow2)
assert_type(Programs().evolve(qemu=("qemu",)), Programs)
assert_type(CreateQcow2().evolve(cluster_size="2M"), CreateQcow2)


def hardened(options: BlockdevOptions) -> BlockdevOptions:
    """Any driver's options take the members that all have."""
    return options.evolve(detect_zeroes="unmap", discard="unmap").as_read_only()


def replies(job: JobInfo, event: JobStatusChange, command: NbdServerStart) -> None:
    assert_type(job.evolve(status="running"), JobInfo)
    assert_type(event.evolve(id="a"), JobStatusChange)
    assert_type(command.evolve(max_connections=1), NbdServerStart)
