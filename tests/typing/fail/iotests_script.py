"""What a script for QEMU's iotests cannot do."""

from __future__ import annotations

import iotests
from iotests import no_such_name  # error: Module "iotests" has no attribute "no_such_name"
from iotests import VM, log


def script(vm: VM) -> None:
    iotests.qemu_img("create", 5)  # error: Argument 2 to "qemu_img" has incompatible type "int"
    iotests.no_such_function()  # error: Module has no attribute "no_such_function"
    log(5)  # error: Value of type variable "Msg" of "log" cannot be "int"
    log("text", filters=[iotests.filter_qmp_testfiles])  # error: List item 0 has incompatible type
    vm.add_drive("disk", format="raw")  # error: Unexpected keyword argument "format"
    vm.run_job(5)  # error: Argument 1 to "run_job" of "VM" has incompatible type "int"
    vm.wait_ready()  # error: "VM" has no attribute "wait_ready"
    vm.qmp("query-block", conv_keys="no")  # error: Argument "conv_keys" to "qmp" of "QEMUMachine"
    len(iotests.qemu_img("info"))  # error: Argument 1 to "len" has incompatible type "int"
    iotests.QemuIoInteractive("disk").ask("length")  # error: has no attribute "ask"
    iotests.notrun("reason")
