"""What a case of unittest cannot be told."""

from __future__ import annotations

from qemu_blocksdk.testing import QMPTestCase
from qemu_blocksdk.testing.assertions import Machine, QmpAssertions
from qemu_blocksdk.testing.event_queue import QueuedQmp


class TestDisk(QMPTestCase):
    def test_disk(self) -> None:
        vm = self.launch_vm(memory=64)  # error: Unexpected keyword argument "memory"
        daemon = self.launch_storage_daemon(machine="pc")  # error: Unexpected keyword argument "machine"
        daemon.pause_drive("drive0")  # error: "StorageDaemon" has no attribute "pause_drive"
        self.ask("vm")  # error: Argument 1 to "ask" of "QMPTestCase" has incompatible type "str"
        self.images.create(64)  # error: Argument 1 to "create" of "Images" has incompatible type "int"
        self.assert_qmp({}, "return", {1})  # error: Argument 3 to "assert_qmp"
        self.assert_qmp({}, ["return"], 1)  # error: Argument 2 to "assert_qmp"
        self.assert_job_failed("job0", "no")  # error: Argument 1 to "assert_job_failed"
        self.assert_images_equal("a", "b")  # error: Argument 2 to "assert_images_equal"
        self.wait_until_completed("drive0", wait="5")  # error: Argument "wait" to "wait_until_completed"
        vm.stop()


class Other(QmpAssertions):
    queue: QueuedQmp

    def _machine(self) -> Machine:
        return self.queue  # error: Incompatible return value type (got "QueuedQmp", expected "Machine")


def queued(queue: QueuedQmp) -> None:
    queue.get_qmp_events(wait="long")  # error: Argument "wait" to "get_qmp_events"
    queue.event_wait(b"STOP")  # error: Argument 1 to "event_wait" of "QueuedQmp"
    queue.events_wait(["STOP"])  # error: List item 0 has incompatible type "str"
