"""The page that maps iotests' VM to typed objects: it is complete, and its code is right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers import ROOT

PAGE = (ROOT / "docs" / "iotests-vm.md").read_text()
ROWS = [
    (left, right)
    for left, right in re.findall(r"^\| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    if left != "iotests"
]

OWN = """
    add_object add_device add_drive_raw add_drive add_blockdev add_incoming hmp pause_drive
    resume_drive hmp_qemu_io flatten_qmp_object qmp_to_opts get_qmp_events_filtered qmp_log run_job
    blockdev_create enable_migration_events wait_migration node_info query_bitmaps get_bitmap
    check_bitmap_status assert_block_path get_virtio_scsi_device
"""
INHERITED = """
    launch shutdown kill wait is_running exitcode get_pid get_log add_args set_machine set_console
    console_socket set_qmp_monitor add_monitor_null add_fd send_fd_scm qmp command get_qmp_event
    get_qmp_events event_match event_wait events_wait qtest
"""
PREAMBLE = """
import logging

from qemu_blocksdk import *
from qemu_blocksdk.blockdev import File, NullCo, Qcow2, flatten, to_image_opts, to_opts
from qemu_blocksdk.objects import Console, Drive, InheritedFd
from qemu_blocksdk.wire import (
    BlockJobError,
    BlockdevCreateOptionsQcow2,
    DeviceAdd,
    JobStatusChange,
    ObjectOptionsIothread,
    QueryStatus,
)

vm: VM
node: Node
other: Node
job: Job
bitmap: Bitmap
events: EventStream[JobStatusChange]
"""


def _names(column: str) -> set[str]:
    return set(re.findall(r"`(?:with )?(\w+)", column))


def _code(column: str) -> list[str]:
    return re.findall(r"`([^`]+)`", column)


def test_every_name_has_its_counterpart() -> None:
    wanted = set((OWN + INHERITED).split()) | {"VM"}
    mapped = {name for left, _ in ROWS for name in _names(left)}
    assert mapped == wanted
    assert all(_code(right) for _, right in ROWS)


@pytest.mark.timeout(120)
def test_every_line_of_code_is_strictly_typed(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    lines = [line for _, right in ROWS for line in _code(right)]
    script.write_text(PREAMBLE + "\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "mypy.ini")]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout
