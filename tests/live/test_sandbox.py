"""What a program in a sandbox can do: read its files, write its targets, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk.errors import LaunchError, SandboxUnavailable, ToolError
from qemu_blocksdk.qmp import AsyncProcess, Sandbox, sandbox

PRELUDE = """
import ctypes, os, resource, socket, sys, time
foreign, folder, own, parent = sys.argv[1:5]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
ATTEMPTS = {
    "read a file": "open(foreign)",
    "write a file": "open(foreign, 'r+')",
    "append to a file": "os.open(foreign, os.O_WRONLY | os.O_APPEND)",
    "empty a file by its name": "os.truncate(foreign, 0)",
    "empty a file as it is opened": "os.open(foreign, os.O_RDONLY | os.O_TRUNC)",
    "list a folder": "os.listdir(folder)",
    "make a file": "open(folder + '/new', 'x')",
    "make a folder": "os.mkdir(folder + '/new')",
    "make a FIFO": "os.mkfifo(folder + '/new')",
    "make a link": "os.symlink('x', folder + '/new')",
    "make a hard link": "os.link(foreign, folder + '/new')",
    "rename a file": "os.rename(foreign, folder + '/new')",
    "remove a file": "os.unlink(foreign)",
    "change a file's mode": "os.chmod(foreign, 0o777)",
    "change a file's owner": "os.chown(foreign, 0, 0)",
    "change a file's times": "os.utime(foreign, (0, 0))",
    "set an attribute": "os.setxattr(foreign, 'user.x', b'x')",
    "change an open file's mode": "os.fchmod(os.open(own, os.O_RDONLY), 0o777)",
    "change an open file's owner": "os.fchown(os.open(own, os.O_RDONLY), 0, 0)",
    "change an open file's times": "os.utime(os.open(own, os.O_RDONLY), (0, 0))",
    "set an open file's attribute": "os.setxattr(os.open(own, os.O_RDONLY), 'user.x', b'x')",
    "remove an attribute": "os.removexattr(os.open(own, os.O_RDONLY), 'user.y')",
    "limit its parent": "resource.prlimit(int(parent), resource.RLIMIT_CORE, (0, 0))",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
    "run a foreign program": "os.execv(folder + '/program', ['true'])",
    "open a FIFO": "os.open(folder + '/fifo', os.O_RDONLY | os.O_NONBLOCK)",
    "write its own file": "open(own, 'r+')",
    "open a unix socket": "socket.socket(socket.AF_UNIX)",
    "open a TCP socket": "socket.socket(socket.AF_INET)",
    "open a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "open a pair of sockets": "socket.socketpair()",
    "use io_uring": "call(libc.syscall, 425, 8, ctypes.create_string_buffer(120))",
    "signal its parent": "os.kill(int(parent), 0)",
    "signal its parent's pidfd": "call(libc.syscall, 424, os.pidfd_open(int(parent)), 0, None, 0)",
    "trace its parent": "call(libc.ptrace, 16, int(parent), 0, 0)",
    "open its parent's files": "os.listdir(f'/proc/{parent}/fd')",
    "leave its namespaces": "call(libc.unshare, 0x10000000)",
    "mount something": "call(libc.mount, b'none', folder.encode(), b'tmpfs', 0, None)",
}
ALLOWED = {
    "read its own file": "assert open(own).read() == 'own'",
    "read it by its descriptor": "assert open('/dev/fd/' + sys.argv[5]).read() == 'own'",
    "write to nowhere": "open('/dev/null', 'w').write('x')",
    "run a program of the system": "assert os.system('true') == 0",
    "limit itself": "resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))",
    "start a thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
}


def confined(box: Sandbox, *argv: str, pass_fds: tuple[int, ...] = ()) -> str:
    """Run a program in a sandbox; return what it printed. Raises ToolError if it fails."""

    async def work() -> str:
        with tempfile.TemporaryFile() as out:
            process = await AsyncProcess.spawn(
                argv, pass_fds=pass_fds, stdout=out.fileno(), ends_itself=True, sandbox=box
            )
            status = await process.wait(timeout=20)
            if status:
                raise ToolError(argv, exit_status=status, output=process.output())
            out.seek(0)
            return out.read().decode()

    return asyncio.run(work())


@pytest.fixture
def world(tmp_path: Path) -> list[str]:
    """Things in a folder that a sandbox does not have."""
    for name in ("foreign", "own"):
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "fifo")
    shutil.copy(shutil.which("true") or "", tmp_path / "program")
    return [str(tmp_path / "foreign"), str(tmp_path), str(tmp_path / "own"), str(os.getpid())]


def outcomes(attempts: dict[str, str], world: list[str]) -> dict[str, str]:
    """What comes of each attempt: ``done``, or the name of the error."""
    script = PRELUDE
    for name, source in attempts.items():
        script += f"try:\n    {source}\nexcept Exception as error:\n"
        script += f"    print({name!r}, type(error).__name__, sep=': ', flush=True)\n"
        script += f"else:\n    print({name!r}, 'done', sep=': ', flush=True)\n"
    descriptor = os.open(world[2], os.O_RDONLY)
    try:
        box = Sandbox(programs=[sys.executable], files=[descriptor])
        argv = [sys.executable, "-S", "-c", script, *world, str(descriptor)]
        done = confined(box, *argv, pass_fds=(descriptor,))
    finally:
        os.close(descriptor)
    return dict(line.split(": ") for line in done.splitlines() if line)


def test_nothing_else_can_be_opened_connected_to_or_changed(world: list[str]) -> None:
    before = {path.name: path.lstat() for path in Path(world[1]).iterdir()}
    found = outcomes(ATTEMPTS, world)
    assert found == dict.fromkeys(ATTEMPTS, "PermissionError")
    assert {path.name: path.lstat() for path in Path(world[1]).iterdir()} == before


def test_without_a_sandbox_the_same_attempts_mostly_succeed(world: list[str]) -> None:
    # That the table is one of things that work: those that take a privilege aside.
    script = PRELUDE + "open(foreign, 'r+'); os.listdir(folder); open(folder + '/new', 'x')\n"
    script += "os.chmod(foreign, 0o777); socket.socketpair(); os.kill(int(parent), 0)\n"
    subprocess.run([sys.executable, "-S", "-c", script, *world], check=True)


def test_its_own_file_the_system_and_threads_are_there(world: list[str]) -> None:
    assert outcomes(ALLOWED, world) == dict.fromkeys(ALLOWED, "done")


def test_targets_are_written_and_nothing_beside_them(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    box = Sandbox(programs=["sh"], written=[tmp_path / "folder", tmp_path / "file"])
    confined(box, "sh", "-c", f"cd {tmp_path}; echo x > folder/new; echo new > file; rm folder/new")
    assert (tmp_path / "file").read_text() == "new\n"
    with pytest.raises(ToolError, match="Permission denied"):
        confined(box, "sh", "-c", f"echo x > {tmp_path}/other")
    with pytest.raises(ToolError, match="Permission denied"):
        confined(box, "sh", "-c", f"rm {tmp_path}/file")


def test_a_program_in_a_place_of_its_own_runs_with_its_libraries(tmp_path: Path) -> None:
    for folder in ("bin", "lib", "etc"):
        (tmp_path / "opt" / folder).mkdir(parents=True)
    tool = tmp_path / "opt" / "bin" / "tool"
    tool.write_text('#!/bin/sh\ncat "${0%/*}/../lib/data" && exec "${0%/*}/real" "$@"\n')
    (tool.parent / "real").write_text('#!/bin/sh\ncat "$1"\n')
    for name in ("tool", "real"):
        (tool.parent / name).chmod(0o755)
    (tmp_path / "opt" / "lib" / "data").write_text("data")
    (tmp_path / "opt" / "etc" / "config").write_text("private")
    link = tmp_path / "link"
    link.symlink_to(tool)
    box = Sandbox(programs=[str(tool)])
    assert confined(box, str(tool), "/dev/null") == "data"
    with pytest.raises(ToolError, match="Permission denied"):
        confined(box, str(tool), str(tmp_path / "opt" / "etc" / "config"))
    with pytest.raises(LaunchError, match="Permission denied"):
        confined(Sandbox(programs=["sh"]), str(tool))


def test_a_program_without_a_bin_directory_brings_nothing_along(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text(f"#!/bin/sh\ncat {tmp_path}/beside\n")
    tool.chmod(0o755)
    (tmp_path / "beside").write_text("private")
    with pytest.raises(ToolError, match="Permission denied"):
        confined(Sandbox(programs=[str(tool)]), str(tool))


def test_this_process_and_its_other_threads_stay_free(world: list[str]) -> None:
    seen: list[str] = []
    is_restricted = threading.Event()

    def read() -> None:
        is_restricted.wait(5)
        seen.append(Path(world[0]).read_text())

    reader = threading.Thread(target=read)
    reader.start()

    def start() -> None:
        is_restricted.set()
        reader.join(5)
        with pytest.raises(PermissionError):
            Path(world[0]).read_text()

    Sandbox(programs=[]).start(start)
    assert seen == ["foreign"]
    assert Path(world[0]).read_text() == "foreign"
    for end in socket.socketpair():
        end.close()


def test_no_finalizer_of_others_runs_in_there() -> None:
    threads: list[int] = []

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            threads.append(threading.get_ident())

    inside: list[int] = []

    def start() -> None:
        inside.append(threading.get_ident())
        for _ in range(5):
            [[] for _ in range(100_000)]  # enough for the collector, were it on

    was_enabled = gc.isenabled()
    gc.enable()
    Cycle()
    Sandbox(programs=[]).start(start)
    assert gc.isenabled()
    gc.collect()
    assert threads
    assert set(threads).isdisjoint(inside)
    if not was_enabled:
        gc.disable()


def test_an_error_of_the_start_is_raised(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="no program"):
        confined(Sandbox(programs=["/nowhere"]), "/nowhere")
    with pytest.raises(ZeroDivisionError):
        Sandbox(programs=[]).start(lambda: 1 // 0)


def without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sandbox._call

    def call(number: int, *arguments: int | bytes | None, what: str) -> int:
        return real(9999, what=what) if number in (444, 445, 446) else real(number, what=what)

    monkeypatch.setattr(sandbox, "_call", call)


def without_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sandbox._prctl

    def prctl(option: int, value: int, pointer: bytes | None = None, *, what: str) -> None:
        real(option, 99 if option == 22 else value, pointer, what=what)

    monkeypatch.setattr(sandbox, "_prctl", prctl)


def another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")


LACKING = {
    "Landlock": without_landlock,
    "seccomp filters": without_seccomp,
    "a seccomp filter for riscv64": another_machine,
}


@pytest.mark.parametrize("what", LACKING)
def test_nothing_is_started_where_the_kernel_cannot_enforce_it(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    LACKING[what](monkeypatch)
    started: list[Callable[[], None]] = []
    with pytest.raises(SandboxUnavailable, match=f"lacks {what}"):
        Sandbox(programs=["true"]).start(lambda: started.append(lambda: None))
    assert started == []


def test_a_forked_child_has_a_lock_of_its_own() -> None:
    with sandbox._exclusive():
        child = os.fork()
        if not child:
            Sandbox(programs=[]).start(lambda: None)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
