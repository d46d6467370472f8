"""A suite of unittest over disks: ``IMGFMT=qcow2 python examples/unittest_suite.py``."""

import unittest

from qemu_blocksdk import Image
from qemu_blocksdk.testing import QMPTestCase

MIB = 1 << 20


class TestDisk(QMPTestCase):
    """A disk of 16 MiB, of the format that ``IMGFMT`` says, in a VM."""

    def setUp(self) -> None:
        self.vm = self.launch_vm()
        self.image = self.images.create("disk", 16 * MIB)
        self.disk = self.images.add(self.vm, self.image, node_name="disk")
        self.disk.io.write(1 * MIB, 2 * MIB, pattern=7)

    def target(self, name: str = "target") -> Image:
        """Make an image to copy to, which the VM has under the same name."""
        image = self.images.create(name, 16 * MIB)
        self.images.add(self.vm, image, node_name=name)
        return image

    def test_what_was_written_is_read(self) -> None:
        self.disk.io.assert_pattern(1 * MIB, 2 * MIB, pattern=7)
        assert self.disk.io.length() == 16 * MIB

    def test_the_vm_has_the_disk_and_nothing_runs(self) -> None:
        self.assert_has_block_node("disk")
        self.assert_has_block_node(file_name=str(self.image.path))
        self.assert_no_active_block_jobs()

    def test_a_mirror_is_equal_when_it_completes(self) -> None:
        target = self.target()
        self.disk.mirror(self.vm.node("target"), timeout=30)
        self.vm.stop()
        self.assert_images_equal(self.image, target)

    def test_a_mirror_is_completed_by_its_events(self) -> None:
        arguments = {"job-id": "drive0", "device": "disk", "target": "target", "sync": "full"}
        self.target()
        self.vm.qmp.execute_raw("blockdev-mirror", arguments)
        self.complete_and_wait("drive0")

    def test_a_backup_is_the_moment_of_its_start(self) -> None:
        self.target()
        with self.vm.start_nbd_server() as server, server.export(self.disk, writable=True) as disk:
            job = self.disk.start_backup(self.vm.node("target"), speed=1)
            disk.write(1 * MIB, 2 * MIB, pattern=8)
            job.set_speed(0)
            job.run(timeout=30)
        self.vm.node("target").io.assert_pattern(1 * MIB, 2 * MIB, pattern=7)
        self.disk.io.assert_pattern(1 * MIB, 2 * MIB, pattern=8)

    def test_a_slow_job_is_cancelled(self) -> None:
        self.target()
        with self.disk.start_backup(self.vm.node("target"), speed=1) as job:
            job.cancel()
        self.assert_no_active_block_jobs()

    def test_an_overlay_keeps_the_disk_as_it_is(self) -> None:
        if self.env.imgfmt != "qcow2":
            self.skipTest("only qcow2 has backing files here")
        self.vm.stop()
        overlay = self.images.create("overlay", backing=self.image)
        vm = self.launch_vm()
        top = self.images.add(vm, overlay, node_name="top")
        top.io.write(0, 1 * MIB, pattern=9)
        vm.graph().assert_path("top", "/backing", top.query_child("backing").name)
        top.query_child("backing").io.assert_pattern(0, 1 * MIB, pattern=0)

    def test_what_an_export_writes_is_on_the_disk(self) -> None:
        with self.vm.start_nbd_server() as server, server.export(self.disk, writable=True) as disk:
            disk.write(4 * MIB, 1 * MIB, pattern=9)
        self.disk.io.assert_pattern(4 * MIB, 1 * MIB, pattern=9)


if __name__ == "__main__":
    unittest.main()
