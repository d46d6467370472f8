"""What is subscribed to, and what arrives then."""

from typing import assert_type

from qemu_blocksdk import VM, EventStream
from qemu_blocksdk.aio import AsyncEventStream, AsyncVM
from qemu_blocksdk.codec import Event, EventSelector
from qemu_blocksdk.wire import BlockJobError, JobStatusChange, MigrationPass, StopEvent

assert_type(JobStatusChange.where(id="job0"), EventSelector[JobStatusChange])
assert_type(MigrationPass.where(pass_=2), EventSelector[MigrationPass])
vm = VM.attach("monitor.sock")
assert_type(vm.qmp.events(), EventStream[Event])
assert_type(vm.qmp.events(JobStatusChange), EventStream[JobStatusChange])
events = vm.qmp.events(JobStatusChange.where(id="job0", status="ready"))
assert_type(events, EventStream[JobStatusChange])
assert_type(
    events.also(BlockJobError.where(device="job0")), EventStream[JobStatusChange | BlockJobError]
)
assert_type(events.also(StopEvent).get(), JobStatusChange | StopEvent)


async def awaitable(vm: AsyncVM) -> None:
    events = vm.qmp.events(JobStatusChange.where(id="job0"))
    assert_type(events, AsyncEventStream[JobStatusChange])
    assert_type(await events.also(StopEvent).get(), JobStatusChange | StopEvent)
