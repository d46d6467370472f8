"""Reading what a program prints as its version."""

from __future__ import annotations

import pytest

from qemu_blocksdk.errors import ToolError
from qemu_blocksdk.tools import Completed, Version


def printed(text: str) -> Completed:
    return Completed(argv=("prog", "--version"), exit_status=0, stdout=text, stderr="")


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7)", (7, 2, 22, "Debian 1:7.2+dfsg-7")),
        ("QEMU emulator version 10.0.2", (10, 0, 2, "")),
        ("qemu-storage-daemon version 9.1.50 (v9.1.0-12-gabc-dirty)", (9, 1, 50, None)),
        ("qemu-nbd 7.2.22 (Debian 1:7.2)", (7, 2, 22, "Debian 1:7.2")),
        ("/opt/1.2.3 x/qemu-nbd 8.2.0 (qemu-kvm-8.2.0-11.el9)", (8, 2, 0, None)),
        ("QEMU emulator version 2.12.0(Debian 1:2.12+dfsg-3)", (2, 12, 0, "Debian 1:2.12+dfsg-3")),
    ],
)
def test_every_programs_way_of_telling_is_understood(
    line: str, version: tuple[int, int, int, str | None]
) -> None:
    found = Version.of(printed(f"{line}\nCopyright (c) 2003-2022 Fabrice Bellard 1.1.1\n"))
    assert found.numbers == version[:3]
    assert found.package == version[3] or (version[3] is None and found.package in line)


@pytest.mark.parametrize(
    "text", ["", "\n", "usage: qemu-img", "GNU bash, version 5.2.15(1)", "qemu-img version seven"]
)
def test_rubbish_is_a_tool_error(text: str) -> None:
    with pytest.raises(ToolError, match="prog told no version of QEMU") as caught:
        Version.of(printed(text))
    assert "\n" not in str(caught.value)


def test_versions_are_ordered_by_number_and_then_by_package() -> None:
    old, new = Version(major=7, minor=2, micro=22), Version(major=10, minor=0, micro=2)
    packaged = Version(major=7, minor=2, micro=22, package="Debian")
    assert old < packaged < new
    assert new >= packaged > old
    assert old != packaged
    assert len({old, packaged, Version(major=7, minor=2, micro=22)}) == 2
    assert new.numbers >= (8, 1) > old.numbers


def test_a_version_is_printed_as_qemu_does() -> None:
    assert str(Version(major=7, minor=2, micro=0, package="Debian 1:7")) == "7.2.0 (Debian 1:7)"
    assert str(Version(major=7, minor=2, micro=0)) == "7.2.0"
