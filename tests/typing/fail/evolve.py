"""What a user gets wrong in `evolve`, as of Python 3.13: each marked line is red, with that message."""

# python_version=3.13

from qemu_blocksdk.blockdev import BlockdevOptions, File, Qcow2
from qemu_blocksdk.tools import CreateQcow2, Programs
from qemu_blocksdk.wire import JobInfo, JobStatusChange, NbdServerStart

disk = Qcow2(node_name="disk", file=File(filename="a"))
disk.evolve(discrad="unmap")  # error: Unexpected keyword argument "discrad"; did you mean "discard"?
disk.evolve(discard="trim")  # error: Argument "discard" has incompatible type "Literal['trim']"
disk.evolve(driver="raw")  # error: Unexpected keyword argument "driver"
Programs().evolve(qemu=1)  # error: Argument "qemu" has incompatible type "int"
Programs().evolve(qemu_imgs=("qemu-img",))  # error: Unexpected keyword argument "qemu_imgs"; did you mean "qemu_img"?
CreateQcow2().evolve(cluster=65536)  # error: Unexpected keyword argument "cluster"


def hardened(options: BlockdevOptions) -> None:
    options.evolve(lazy_refcounts=True)  # error: Unexpected keyword argument "lazy_refcounts"


def replies(job: JobInfo, event: JobStatusChange, command: NbdServerStart) -> None:
    job.evolve(status="runing")  # error: Argument "status" has incompatible type "Literal['runing']"
    event.evolve(idd="a")  # error: Unexpected keyword argument "idd"
    command.evolve(max_connection=1)  # error: Unexpected keyword argument "max_connection"; did you mean "max_connections"?
