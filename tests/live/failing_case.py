"""Five tests that fail: what their reader sees is in ``docs/unittest.md`` and tested."""

import signal
import unittest

from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions
from qemu_blocksdk.testing import QMPTestCase

MIB = 1 << 20


class TestFailures(QMPTestCase):
    """Two disks, and jobs over them."""

    def setUp(self) -> None:
        self.vm = self.launch_vm()
        self.disk, self.copy = (
            self.images.add(self.vm, self.images.create(name, 16 * MIB), node_name=name)
            for name in ("disk", "copy")
        )

    def test_wrong_state(self) -> None:
        self.disk.start_mirror(self.copy, job_id="job0").wait(until="ready", timeout=5)
        reply = self.vm.qmp.execute_raw("query-jobs")
        self.assert_qmp({"return": reply}, "return[0]/status", "running")

    def test_death(self) -> None:
        self.disk.start_mirror(self.copy, job_id="job0", speed=1)
        self.vm.process.send_signal(signal.SIGSEGV)
        self.wait_until_completed("job0")

    def test_failing_job(self) -> None:
        self.disk.io.write(0, 4 * MIB, pattern=7)
        errors = [BlkdebugInjectErrorOptions(event="none", iotype="read", errno=5)]
        bad = self.vm.add_node(Blkdebug(node_name="bad", image="disk", inject_error=errors))
        bad.start_mirror(self.copy, job_id="job0")
        self.wait_until_completed("job0")

    def test_time_limit(self) -> None:
        self.disk.start_mirror(self.copy, job_id="job0", speed=1)
        self.wait_until_completed("job0", wait=0.5)

    def test_golden(self) -> None:
        nodes = self.vm.graph().nodes
        named = (node for node in nodes if node.name in ("copy", "disk"))
        self.golden.check("".join(f"{node.name}: {node.driver}\n" for node in named))


if __name__ == "__main__":
    unittest.main()
