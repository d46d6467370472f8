"""A script for QEMU's iotests, as type checkers see it by the stubs."""

from __future__ import annotations

import logging
import re
from typing import assert_type

import iotests
from iotests import VM, QMPTestCase, log


class TestDisk(QMPTestCase):
    @iotests.skip_if_unsupported(["qcow2"])
    def test_disk(self) -> None:
        self.vm = VM().add_drive("disk.img", opts="node-name=disk").add_device("scsi-hd")
        result = self.vm.qmp("query-block", conv_keys=False)
        self.assert_qmp(result, "return[0]/device", ["drive0", "drive1"])
        self.case_skip("no reason")


def script(vm: VM) -> None:
    assert_type(iotests.qemu_img("info", "disk.img"), int)
    assert_type(iotests.qemu_img_pipe_and_status("info"), tuple[str, int])
    assert_type(iotests.qemu_io("-c", "read 0 512"), str)
    assert_type(iotests.qemu_io_silent_check("disk.img"), bool)
    assert_type(vm.run_job("job0", auto_dismiss=True, wait=5.0), str | None)
    assert_type(iotests.filter_qemu_io("text"), str)
    assert_type(iotests.test_logger, logging.Logger)
    assert_type(iotests.index_re, re.Pattern[str])
    log({"a": 1}, filters=[iotests.filter_qmp_testfiles], indent=2)
    log("text", [iotests.filter_testfiles, lambda text: text.upper()])
    with iotests.FilePath("a", base_dir=iotests.sock_dir), iotests.Timeout(3, "too long"):
        vm.launch()
    with iotests.qemu_nbd_popen("-k", "sock"):
        vm.shutdown(hard=True)
    value: object = "text"
    if iotests.is_str(value):
        assert_type(value, str)


iotests.script_main(lambda: script(VM()), supported_fmts=["qcow2"], supported_protocols=["file"])
