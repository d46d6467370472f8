"""Reading lists of block drivers, and what is known of the drivers."""

from __future__ import annotations

import pytest

from qemu_blocksdk.errors import ToolError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.tools import Completed
from qemu_blocksdk.tools.drivers import creatable, listed, openable, supports, told_creatable
from qemu_blocksdk.wire import blockdev

IN_7_2 = """\
  'skip=N' skip N bs-sized blocks at the start of input

Supported formats: blkdebug host_cdrom null-co qcow2 vvfat

See <https://qemu.org/contribute/report-a-bug> for how to report bugs.
"""
IN_10_0 = """\
  snapshot - List or manipulate snapshots within image

Supported image formats:

  blkdebug
  host_cdrom null-co
  qcow2 vvfat

See <https://qemu.org/contribute/report-a-bug> for how to report bugs.
"""
WHITELISTED = "Supported formats: raw qcow2 file\nSupported formats (read-only): raw file vmdk\r\n"


@pytest.mark.parametrize("text", [IN_7_2, IN_10_0])
def test_the_list_in_a_help_text_is_read_however_it_is_laid_out(text: str) -> None:
    assert listed(text) == ("blkdebug", "host_cdrom", "null-co", "qcow2", "vvfat")
    assert listed(text, read_only=True) == ()


def test_the_two_lists_of_whitelists_are_told_apart() -> None:
    assert listed(WHITELISTED) == ("raw", "qcow2", "file")
    assert listed(WHITELISTED, read_only=True) == ("raw", "file", "vmdk")


@pytest.mark.parametrize("text", ["", "Supported formats:", "unknown command: 'drive_add'\r\n"])
def test_a_text_without_a_list_lists_nothing(text: str) -> None:
    assert listed(text) == ()


def test_what_is_only_in_the_read_only_list_cannot_be_written() -> None:
    found = supports(["raw", "vmdk", "dmg"], writable=["raw", "dmg"], creatable=["raw"])
    assert [(d.can_open_read_only, d.can_open_writable, d.can_create) for d in found.values()] == [
        (True, True, True),
        (True, False, False),
        (True, False, False),
    ]


@pytest.mark.parametrize("snapshot", snapshots.available())
def test_what_has_no_child_is_a_protocol_and_nothing_else_is(snapshot: str) -> None:
    names = openable(snapshots.load(snapshot))
    assert {"file", "nbd", "qcow2", "raw"} <= set(names)
    found = supports(names, writable=names, creatable=())
    classes = {
        str(vars(each)["driver"]): each
        for each in vars(blockdev).values()
        if isinstance(each, type) and "driver" in vars(each)
    }
    for name in names:
        members = " ".join(classes[name].__annotations__.values())
        assert (found[name].kind == "protocol") == ("BlockdevRef" not in members), name
    assert {name for name in names if found[name].kind is None} == {"quorum", "snapshot-access"}


@pytest.mark.parametrize("snapshot", snapshots.available())
def test_introspection_tells_what_blockdev_create_can_create(snapshot: str) -> None:
    formats = "luks parallels qcow qcow2 qed vdi vhdx vmdk vpc"
    protocols = "file gluster nfs rbd ssh"
    if snapshot.endswith("-11.1"):  # Debian builds no gluster any more
        protocols = "file nfs rbd ssh"
    assert creatable(snapshots.load(snapshot)) == {*formats.split(), *protocols.split()}


def answer(status: int, stderr: str) -> Completed:
    return Completed(argv=("qemu-img", "create"), exit_status=status, stdout="", stderr=stderr)


def test_what_qemu_img_says_of_creating_is_understood() -> None:
    name = "qemu-img: "
    refusal = f"{name}Format driver 'dmg' does not support image creation"
    assert told_creatable(answer(0, "")) is True
    assert told_creatable(answer(1, refusal)) is False
    assert told_creatable(answer(1, f"{name}Unknown file format 'ssh'")) is None
    with pytest.raises(ToolError, match="out of luck"):
        told_creatable(answer(1, f"{name}out of luck"))
