"""What a user gets wrong: each marked line is red, with that message, and no other line is."""

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import File, Nbd, Qcow2
from qemu_blocksdk.wire import BlockdevBackup, QueryJobs

Qcow2(file=File(filename="a"), lazy_refcount=True)  # error: Unexpected keyword argument "lazy_refcount" for "Qcow2"; did you mean "lazy_refcounts"?
Qcow2(file=File(filename="a"), cache_size="1M")  # error: Argument "cache_size" to "Qcow2" has incompatible type "str"; expected "int | None"
Qcow2(file=3)  # error: Argument "file" to "Qcow2" has incompatible type "int"
Qcow2(file=File(filename="a"), discard="trim")  # error: Argument "discard" to "Qcow2" has incompatible type "Literal['trim']"; expected "Literal['ignore', 'unmap'] | None"
Qcow2()  # error: Missing named argument "file" for "Qcow2"
Qcow2(File(filename="a"))  # error: Too many positional arguments for "Qcow2"
File(filename="a").filename = "b"  # error: Property "filename" defined in "File" is read-only
Nbd(server="localhost")  # error: Argument "server" to "Nbd" has incompatible type "str"
BlockdevBackup(device="a", target="b")  # error: Missing named argument "sync" for "BlockdevBackup"

with StorageDaemon() as daemon:
    daemon.add_node(BlockdevBackup(device="a", target="b", sync="full"))  # error: Argument 1 to "add_node" of "BlockLayer" has incompatible type "BlockdevBackup"
    daemon.node("a").backup("b")  # error: Argument 1 to "backup" of "Node" has incompatible type "str"; expected "Node"
    number: int = daemon.qmp.execute(QueryJobs())  # error: Incompatible types in assignment (expression has type "list[JobInfo]", variable has type "int")
    daemon.node("a").backup(daemon.node("b"), sync="ful")  # error: Argument "sync" to "backup" of "Node" has incompatible type "Literal['ful']"
