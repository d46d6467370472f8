"""The seccomp filter, run as the kernel of each architecture would."""

from __future__ import annotations

import functools
import platform
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from qemu_blocksdk.errors import SandboxUnavailable
from qemu_blocksdk.qmp import sandbox

MACHINES: Mapping[str, tuple[int, str]] = {
    "x86_64": (0xC000003E, "x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": (0xC00000B7, "asm-generic/unistd.h"),
}
"""By architecture: its number (``linux/audit.h``), and the header of its system calls."""
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x0005000D, 0x80000000
NEEDED = ("openat", "read", "pread64", "mmap", "execve", "clone", "clone3", "accept4", "ftruncate")


@functools.cache
def numbers(machine: str) -> Mapping[str, int]:
    """Return the numbers of system calls by name, from this machine's headers."""
    header = Path("/usr/include") / MACHINES[machine][1]
    if not header.exists():
        pytest.skip(f"there is no {header.name} (apt-get install linux-libc-dev)")
    text = header.read_text()
    found = dict(re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, re.MULTILINE))
    found.pop("syscalls", None)  # how many there are
    return {name: int(number) for name, number in found.items()}


def filter_of(machine: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    return sandbox._filter()


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run a BPF program on one system call."""
    data = struct.pack("=IIQ", number, architecture, 0)
    data += struct.pack("=6Q", *arguments, *[0] * (6 - len(arguments)))
    lines = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                assert isinstance(value, int)
                return value
            case _:
                raise AssertionError(f"instruction {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    column = sandbox._ARCHITECTURES[machine][0]
    assert sandbox._ARCHITECTURES[machine][1] == MACHINES[machine][0]
    there = numbers(machine)
    ours = {name: row[column] for name, row in sandbox._FORBIDDEN.items()}
    ours["prlimit64"] = sandbox._PRLIMIT[column]
    assert set(ours).isdisjoint(NEEDED)
    last = max(there.values())
    # What a later kernel has added is not in these headers; its numbers are the same everywhere.
    known = {name: number for name, number in ours.items() if number is None or number <= last}
    assert known == {name: there.get(name) for name in known}
    for name, row in sandbox._FORBIDDEN.items():
        if name not in known:
            assert len(set(row)) == 1, name


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_refuses_these_and_no_others(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    column, architecture = sandbox._ARCHITECTURES[machine]
    program = filter_of(machine, monkeypatch)
    forbidden = {row[column] for row in sandbox._FORBIDDEN.values()} - {None}
    for number in range(1000):
        wanted = REFUSE if number in forbidden else ALLOW
        assert verdict(program, architecture, number) == wanted, number


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_are_set_for_oneself_only(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    column, architecture = sandbox._ARCHITECTURES[machine]
    program = filter_of(machine, monkeypatch)
    assert verdict(program, architecture, sandbox._PRLIMIT[column], 0) == ALLOW
    assert verdict(program, architecture, sandbox._PRLIMIT[column], 1) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_other_tables_of_system_calls_are_closed(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those of 32-bit programs, and x32, which shares its architecture's number.
    _, architecture = sandbox._ARCHITECTURES[machine]
    program = filter_of(machine, monkeypatch)
    for other in (0x40000003, 0x40000028, *(a for a, _ in MACHINES.values() if a != architecture)):
        assert verdict(program, other, 0) == KILL
    assert verdict(program, architecture, 0x40000000) == REFUSE
    assert verdict(program, architecture, 0xFFFFFFFF) == REFUSE


@pytest.mark.parametrize("machine", ["riscv64", "armv7l", "i686", "ppc64le", "s390x", ""])
def test_there_is_none_for_another_architecture(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SandboxUnavailable, match="only x86_64 and aarch64 have one"):
        filter_of(machine, monkeypatch)


def test_there_is_none_for_a_python_of_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def size_of(_: str) -> int:
        return 4

    monkeypatch.setattr(struct, "calcsize", size_of)
    with pytest.raises(SandboxUnavailable):
        filter_of("x86_64", monkeypatch)
