"""What a user gets wrong with jobs, bitmaps, transactions and recipes."""

from qemu_blocksdk import Backup, Disk, Image, StorageDaemon

with StorageDaemon() as daemon:
    node = daemon.node("disk")
    node.mirror(node, copy_mode="active")  # error: Argument "copy_mode" to "mirror" of "Node" has incompatible type "Literal['active']"
    node.mirror("copy")  # error: Argument 1 to "mirror" of "Node" has incompatible type "str"; expected "Node"
    node.backup(node, auto_finalise=False)  # error: Unexpected keyword argument "auto_finalise" for "backup" of "Node"
    node.start_backup(node).wait(until="done")  # error: Argument "until" to "wait" of "Job" has incompatible type "Literal['done']"
    node.start_backup(node).wait("ready")  # error: Too many positional arguments for "wait" of "Job"
    node.start_backup(node).cancel(force="yes")  # error: Argument "force" to "cancel" of "Job" has incompatible type "str"; expected "bool"
    node.bitmap("b").merge(["c"])  # error: List item 0 has incompatible type "str"; expected "Bitmap"
    node.bitmap("b").query_info().counts  # error: "BlockDirtyInfo" has no attribute "counts"
    daemon.transaction(completion_mode="all")  # error: Argument "completion_mode" to "transaction" of "BlockLayer" has incompatible type "Literal['all']"
    daemon.transaction().clear_bitmap("b")  # error: Argument 1 to "clear_bitmap" of "Transaction" has incompatible type "str"; expected "Bitmap"
    Backup(daemon).add_disk(node, "copy.qcow2")  # error: Argument 2 to "add_disk" of "Backup" has incompatible type "str"; expected "Image[str]"
    Disk(node).move(Image("copy", format="raw"))  # error: Argument 1 to "Disk" has incompatible type "Node"; expected "BlockLayer"
