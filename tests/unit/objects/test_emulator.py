"""What is made of an emulator's answers: those of builds that no test machine has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import pytest

from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.objects.emulator import Emulator, query_emulator
from qemu_blocksdk.tools import Version
from tests.programs import python_program

ANSWERING = """\
import json, socket, sys
fd = next(int(word.split("fd=")[1]) for word in sys.argv if "fd=" in word)
sock = socket.socket(fileno=fd)
version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "qemu-kvm-7.2.0-1.el9"}
replies = {"query-version": version, **json.load(open(sys.argv[0] + ".json"))}
sock.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\\n")
for line in sock.makefile("rb"):
    request = json.loads(line)
    reply = {"return": replies.get(request["execute"], {}), "id": request.get("id")}
    sock.sendall(json.dumps(reply).encode() + b"\\n")
    if request["execute"] == "quit":
        break
"""
MACHINE = {"cpu-max": 1, "hotpluggable-cpus": False, "numa-mem-supported": False}
MACHINES = [{"name": name, "deprecated": False, **MACHINE} for name in ("none", "virt")]
LISTS = "Supported formats: raw qcow2\r\nSupported formats (read-only): raw qcow2 vmdk\r\n"
REPLIES: Mapping[str, object] = {
    "query-machines": MACHINES,
    "query-target": {"arch": "aarch64"},
    "qom-list-types": [{"name": "tcg-accel"}, {"name": "qtest-accel"}, {"name": "accel"}],
    "human-monitor-command": LISTS,
}


def emulator(folder: Path, replies: Mapping[str, object]) -> Emulator:
    """What is told of a program that gives these replies."""
    snapshot = resources.files("qemu_blocksdk.schema") / "snapshots" / "system-7.2.json"
    schema = json.loads(snapshot.read_text())["schema"]
    program = python_program(folder / "qemu", ANSWERING)
    program.with_suffix(".json").write_text(json.dumps({**replies, "query-qmp-schema": schema}))
    return asyncio.run(query_emulator(str(program), timeout=10))


def test_an_emulator_without_a_default_machine_has_none(tmp_path: Path) -> None:
    found = emulator(tmp_path, REPLIES)
    assert found.default_machine is None
    assert found.target == "aarch64"
    assert found.accelerators == {"tcg", "qtest"}
    assert found.version == Version(major=7, minor=2, micro=0, package="qemu-kvm-7.2.0-1.el9")


def test_the_default_machine_is_the_one_that_says_so(tmp_path: Path) -> None:
    default = {**MACHINES[0], "name": "pc-7.2", "alias": "pc", "is-default": True}
    found = emulator(tmp_path, {**REPLIES, "query-machines": [*MACHINES, default]})
    assert (found.default_machine, found.default_machine_alias) == ("pc-7.2", "pc")


def test_a_driver_that_is_whitelisted_for_reading_cannot_be_opened_writable(tmp_path: Path) -> None:
    drivers = emulator(tmp_path, REPLIES).drivers
    assert set(drivers) == {"raw", "qcow2", "vmdk"}
    assert drivers["qcow2"].can_open_writable
    assert drivers["vmdk"].can_open_read_only
    assert not drivers["vmdk"].can_open_writable


def test_an_emulator_that_lists_no_drivers_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="list of its block drivers"):
        emulator(tmp_path, {**REPLIES, "human-monitor-command": "unknown command\r\n"})
