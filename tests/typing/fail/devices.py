"""What is wrong at run time of a VM: each marked line is red, and no other."""

from qemu_blocksdk import VM, Node, StorageDaemon


def at_run_time(vm: VM, daemon: StorageDaemon, node: Node) -> None:
    """Each line is a mistake."""
    vm.plug("disk")  # error: Argument 1 to "plug" of "VM" has incompatible type "str"; expected "Node"
    vm.plug(node, device="ide")  # error: Argument "device" to "plug" of "VM" has incompatible type "Literal['ide']"
    vm.plug(node, iothread="io")  # error: Argument "iothread" to "plug" of "VM" has incompatible type "str"
    vm.add_throttle_group("tg", limits={"bps-total": 1})  # error: Argument "limits" to "add_throttle_group" of "BlockLayer" has incompatible type
    vm.wait_run_state("stopped")  # error: Argument 1 to "wait_run_state" of "VM" has incompatible type "Literal['stopped']"
    vm.set_migration_capabilities({"dirty_bitmaps": True})  # error: Dict entry 0 has incompatible type
    vm.migrate("unix:path").wait(until="ready")  # error: Argument "until" to "wait" of "Migration" has incompatible type "Literal['ready']"
    daemon.add_device("scsi-hd")  # error: "StorageDaemon" has no attribute "add_device"
