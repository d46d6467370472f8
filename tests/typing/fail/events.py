"""What is wrong with a subscription to events: each marked line is red, and no other."""

from qemu_blocksdk import VM
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.wire import BlockdevAdd, JobStatusChange, StopEvent

vm = VM.attach("monitor.sock")
vm.qmp.events(JobStatusChange, id="x")  # error: No overload variant of "events" of "Qmp" matches argument types
vm.qmp.events(JobStatusChange, idd="x")  # error: No overload variant of "events" of "Qmp" matches argument types
vm.qmp.events("JOB_STATUS_CHANGE")  # error: No overload variant of "events" of "Qmp" matches argument type
vm.qmp.events(BlockdevAdd)  # error: Value of type variable "E" of "events" of "Qmp" cannot be "BlockdevAdd"
JobStatusChange.where(idd="x")  # error: Unexpected keyword argument "idd" for "where" of "JobStatusChange"
JobStatusChange.where("x")  # error: Too many positional arguments for "where" of "JobStatusChange"
JobStatusChange.where(status="runing")  # error: Argument "status" to "where" of "JobStatusChange" has incompatible type "Literal['runing']"
JobStatusChange.where(id=3)  # error: Argument "id" to "where" of "JobStatusChange" has incompatible type "int"
StopEvent.where(id="x")  # error: "type[StopEvent]" has no attribute "where"
events = vm.qmp.events(JobStatusChange.where(id="x"))
events.also(JobStatusChange, id="y")  # error: Argument "id" to "also" of "EventStream" has incompatible type "str"; expected "Never"
events.also("STOP")  # error: Argument 1 to "also" of "EventStream" has incompatible type "str"
events.get().nonsense  # error: "JobStatusChange" has no attribute "nonsense"


async def awaitable(vm: AsyncVM) -> None:
    vm.qmp.events(JobStatusChange, id="x")  # error: No overload variant of "events" of "AsyncQmp" matches argument types
    vm.qmp.events(StopEvent).also(JobStatusChange, id="x")  # error: Argument "id" to "also" of "AsyncEventStream" has incompatible type "str"; expected "Never"
