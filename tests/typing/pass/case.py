"""A case of unittest: its QEMUs, assertions and environment are typed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import assert_type

from qemu_blocksdk import VM, Image, Job, NbdServer, StorageDaemon
from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.testing import Golden, QMPTestCase, TestEnv
from qemu_blocksdk.testing.assertions import Machine, QmpAssertions
from qemu_blocksdk.testing.event_queue import QueuedQmp, event_match


class TestDisk(QMPTestCase):
    def setUp(self) -> None:
        self.vm = self.launch_vm(machine="pc", args=["-m", "64"])
        self.daemon = self.launch_storage_daemon(exports=[])
        self.ask(self.vm)

    @contextmanager
    def make_env(self) -> Generator[TestEnv]:
        with TestEnv.temporary(imgfmt="qcow2") as env:
            yield env

    def test_disk(self) -> None:
        assert_type(self.vm, VM)
        assert_type(self.daemon, StorageDaemon)
        assert_type(self.env, TestEnv)
        assert_type(self.golden, Golden)
        disk = self.images.create("disk", "64M")
        assert_type(disk, Image)
        assert_type(self.launch_nbd_server(disk, shared=2), NbdServer)
        reply: JsonObject = {"return": [{"status": "ready"}]}
        assert_type(self.dictpath(reply, "return[0]/status"), JsonValue)
        self.assert_qmp(reply, "return[0]/status", ["ready", "running"])
        self.assert_qmp_absent(reply, "error")
        self.assert_has_block_node(file_name="disk")
        assert_type(self.wait_until_completed("drive0", check_offset=False, wait=5), JsonObject)
        assert_type(self.cancel_and_wait(drive="drive0", force=True, wait=True), JsonObject)
        assert_type(self.pause_job("drive0"), JsonObject)
        with self.subTest("named", number=1), self.subTest(number=2), self.subTest():
            self.complete_and_wait(completion_error="No space left on device")

    def test_typed(self, job: Job, one: Image, other: Image) -> None:
        self.assert_job_failed(job, "Input/output error", timeout=5)
        self.assert_images_equal(one, other)
        self.case_skip("not today")


class Asked(QueuedQmp):
    def resume_drive(self, drive: str) -> None: ...


class Other(QmpAssertions):
    vm: Asked

    def _machine(self) -> Machine:
        return self.vm


def queued(queue: QueuedQmp) -> None:
    assert_type(queue.qmp("query-jobs"), JsonObject)
    assert_type(queue.command("object-add", conv_keys=False, qom_type="secret"), JsonValue)
    assert_type(queue.get_qmp_event(wait=0.5), JsonObject | None)
    assert_type(queue.get_qmp_events(wait=True), list[JsonObject])
    assert_type(queue.event_wait("STOP", timeout=0, match={"data": {}}), JsonObject | None)
    assert_type(queue.events_wait([("STOP", None), ("RESUME", {})]), JsonObject | None)
    assert_type(event_match({"event": "STOP"}, None), bool)
