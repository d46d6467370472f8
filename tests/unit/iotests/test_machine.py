"""The machine of scripts, with a QEMU that has the accelerator qtest, as no test machine's has."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk import VM
from qemu_blocksdk.iotests.machine import QEMUQtestMachine
from tests.programs import python_program

QEMU_WITH_QTEST = """\
import json, socket, sys
log = "none" if "none" in sys.argv[-2:] or "-qtest-log" in sys.argv else "stderr"
if "-qtest" in sys.argv and log == "stderr":
    print("[I 0.000000] OPENED", file=sys.stderr, flush=True)
fd = next(int(word.split("fd=")[1]) for word in sys.argv if "fd=" in word)
sock = socket.socket(fileno=fd)
version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
sock.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\\n")
for line in sock.makefile("rb"):
    request = json.loads(line)
    value = [{"name": "qtest-accel"}] if request["execute"] == "qom-list-types" else {}
    sock.sendall(json.dumps({"return": value, "id": request.get("id")}).encode() + b"\\n")
    if request["execute"] == "quit":
        break
if "-qtest" in sys.argv and log == "stderr":
    print("[I +0.012345] CLOSED", file=sys.stderr)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A QEMU that has qtest."""
    return str(python_program(tmp_path / "qemu", QEMU_WITH_QTEST))


def test_the_log_of_a_script_has_what_qtest_writes(program: str) -> None:
    with QEMUQtestMachine(program) as machine:
        machine.launch()
    assert machine.get_log() == "[I 0.000000] OPENED\n[I +0.012345] CLOSED\n"


def test_the_output_of_a_typed_vm_has_nothing_of_qtest_unless_asked(program: str) -> None:
    for wanted in (False, True):
        with VM(program=program, qtest_log=wanted) as vm:
            process = vm.process
        assert ("OPENED" in process.output()) is wanted
