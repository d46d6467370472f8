"""What is wrong with the description of a VM: each marked line is red, and no other."""

from qemu_blocksdk import VM, Drive, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.wire import JobStatusChange, ObjectOptionsIothread

VM(blockdevs=["driver=file"])  # error: List item 0 has incompatible type "str"
VM(objects=[NullCo()])  # error: List item 0 has incompatible type "NullCo"
VM(blockdevs=[ObjectOptionsIothread(id="io0")])  # error: List item 0 has incompatible type
VM(drives=["if=none"])  # error: List item 0 has incompatible type "str"; expected "Drive"
VM(secrets={"key": "x"})  # error: Dict entry 0 has incompatible type "str": "str"
VM(blokdevs=[])  # error: Unexpected keyword argument "blokdevs" for "VM"
StorageDaemon(drives=[])  # error: Unexpected keyword argument "drives" for "StorageDaemon"
Drive(file="a", interface="nvme")  # error: Argument "interface" to "Drive" has incompatible type
Drive(options=["a"])  # error: Argument "options" to "Drive" has incompatible type "list[str]"
Drive("a")  # error: Too many positional arguments for "Drive"
vm = VM.attach("monitor.sock")
vm.pause_drive("d", "nonsense")  # error: Argument 2 to "pause_drive" of "VM" has incompatible type
vm.getfd("/dev/null")  # error: Missing named argument "name" for "getfd" of "VM"
StorageDaemon.attach("m").hmp("info block")  # error: "StorageDaemon" has no attribute "hmp"
vm.qmp.events(JobStatusChange).get(where=lambda event: event.nonsense)  # error: "JobStatusChange" has no attribute "nonsense"
