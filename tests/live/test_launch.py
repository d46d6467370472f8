"""Starting and stopping a QEMU, and everything that is none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Qmp, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LaunchError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.wire import QomListTypes, QueryJobs, QueryStatus
from tests.live.helpers import exists
from tests.programs import python_program

pytestmark = pytest.mark.timeout(20)

KINDS = pytest.mark.parametrize("kind", [StorageDaemon, VM])


def _program(folder: Path, source: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{source}\n")
    path.chmod(0o755)
    return path


# -- what is no QEMU --------------------------------------------------------------------


@KINDS
def test_a_missing_binary_is_named(kind: type[StorageDaemon | VM]) -> None:
    with pytest.raises(LaunchError, match="qemu-of-nowhere") as caught:
        kind(program="qemu-of-nowhere").launch()
    assert "\n" not in str(caught.value)
    assert caught.value.argv[0] == "qemu-of-nowhere"
    assert caught.value.exit_status is None


@KINDS
def test_a_file_that_cannot_be_executed_is_no_binary(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(LaunchError) as caught:
        kind(program=tmp_path / "text").launch()
    assert "\n" not in str(caught.value)


@KINDS
def test_an_executable_of_no_known_format_is_a_launch_error(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    (tmp_path / "bytes").write_bytes(b"\x7fELF of a kind\0\1\2")
    (tmp_path / "bytes").chmod(0o755)
    with pytest.raises(LaunchError) as caught:
        kind(program=tmp_path / "bytes", launch_timeout=5).launch()
    assert "\n" not in str(caught.value)


@KINDS
@pytest.mark.parametrize("program", ["/bin/true", "/bin/false", "/bin/cat"])
def test_a_program_that_is_no_qemu_is_a_launch_error(
    kind: type[StorageDaemon | VM], program: str
) -> None:
    with pytest.raises(LaunchError) as caught:
        kind(program=program).launch()
    assert "\n" not in str(caught.value)
    assert caught.value.argv[0] == program


@KINDS
def test_a_program_that_sleeps_for_ever_is_given_up_in_time(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    sleeper = _program(tmp_path, "exec sleep 1000")
    begin = time.monotonic()
    with pytest.raises(LaunchError, match=r"not ready within 0\.3 s") as caught:
        kind(program=sleeper, launch_timeout=0.3).launch()
    assert time.monotonic() - begin < 2
    assert "\n" not in str(caught.value)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = _program(tmp_path, "trap '' TERM INT HUP; while :; do read x <&3; done 3<>fifo")
    os.mkfifo(tmp_path / "fifo")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(LaunchError):
            StorageDaemon(program=stubborn, launch_timeout=0.3).launch()
    finally:
        os.chdir(here)


def test_what_a_program_said_before_it_ended_is_in_the_error(tmp_path: Path) -> None:
    talker = _program(tmp_path, "echo first line; echo last words >&2; exit 7")
    with pytest.raises(LaunchError) as caught:
        StorageDaemon(program=talker).launch()
    error = caught.value
    assert error.exit_status == 7
    assert error.output == "first line\nlast words\n"
    assert str(error).endswith("(exit status 7): last words")
    assert error.argv[0] == str(talker)


def test_only_the_tail_of_a_flood_of_output_is_kept(tmp_path: Path) -> None:
    talker = _program(tmp_path, "yes 'so much to say' | head -c 5000000; echo end; exit 1")
    with pytest.raises(LaunchError, match=r"end$") as caught:
        StorageDaemon(program=talker).launch()
    assert len(caught.value.output) <= 4096


def test_a_program_that_talks_garbage_to_its_monitor_is_a_launch_error(tmp_path: Path) -> None:
    # --chardev socket,id=...,fd=N: more digits than sh takes
    talker = _program(tmp_path, 'exec bash -c "echo GARBAGE >&${2##*=}; exec sleep 1000"')
    with pytest.raises(LaunchError, match="GARBAGE") as caught:
        StorageDaemon(program=talker, launch_timeout=5).launch()
    assert "\n" not in str(caught.value)


@KINDS
def test_an_argument_that_qemu_refuses_is_told_in_its_words(kind: type[StorageDaemon | VM]) -> None:
    with pytest.raises(LaunchError, match="no-such-option") as caught:
        kind(args=["--no-such-option"]).launch()
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)


# -- whom nobody answers for ------------------------------------------------------------


def test_a_socket_that_nobody_answers_on_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="mute") as caught:
            Qmp.connect(tmp_path / "mute", timeout=0.3)
        assert 0.2 < time.monotonic() - begin < 1.5
        assert "\n" not in str(caught.value)
    (tmp_path / "mute").unlink()


def test_a_path_that_nobody_listens_on_is_a_lost_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost, match="nobody") as caught:
        Qmp.connect(str(tmp_path / "nobody"))
    assert "\n" not in str(caught.value)


def test_a_port_that_nobody_listens_on_is_a_lost_connection() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: refused, and nobody else's
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1"):
            Qmp.connect(("127.0.0.1", held.getsockname()[1]))


def test_a_host_that_does_not_exist_is_a_lost_connection() -> None:
    with pytest.raises((ConnectionLost, DeadlineExceeded)) as caught:
        Qmp.connect(("host.invalid", 4444), timeout=5)
    assert "\n" not in str(caught.value)


def test_a_path_too_long_for_a_socket_is_a_lost_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost):
        Qmp.connect(tmp_path / ("x" * 200))


def test_a_path_with_a_nul_in_it_is_a_usage_error() -> None:
    with pytest.raises((ConnectionLost, UsageError)):
        Qmp.connect("/tmp/a\0b")


def test_a_peer_that_sends_garbage_is_a_lost_connection(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        with pytest.raises(ConnectionLost, match="SSH-2") as caught:
            Qmp.connect(ours)
    assert "\n" not in str(caught.value)


# -- normal life ------------------------------------------------------------------------


def test_a_daemon_lives_as_long_as_its_block(qemu_version: tuple[int, int]) -> None:
    with StorageDaemon() as daemon:
        assert daemon.qmp.version[:2] == qemu_version
        assert exists(daemon.process.pid)
        assert daemon.qmp.execute(QueryJobs()) == []
    assert not daemon.is_running
    assert daemon.process.exit_status == 0
    assert not exists(daemon.process.pid)
    assert not daemon.qmp.is_connected


def test_no_option_of_a_launch_is_deprecated(qemu_version: tuple[int, int], tmp_path: Path) -> None:
    with VM(monitors=[str(tmp_path / "m")]) as vm:
        argv = vm.process.argv
        types = vm.qmp.execute(QomListTypes(implements="monitor-qmp"))
        assert bool(types) == (qemu_version >= (11, 1))
        assert sum(word.startswith("monitor-qmp,") for word in argv) == 2 * bool(types)
        assert "-mon" not in argv
    assert "deprecated" not in vm.process.output()


def starts_with_qtest() -> bool:
    """Whether the binary starts with the accelerator ``qtest``, which no help text lists."""
    argv = ["qemu-system-x86_64", "-accel", "qtest", "-machine", "none", "-nodefaults"]
    argv += ["-display", "none", "-monitor", "stdio"]
    done = subprocess.run(argv, input="quit\n", capture_output=True, text=True, timeout=10)
    return done.returncode == 0


def test_a_vm_runs_without_guest_code_where_the_binary_can(qemu_version: tuple[int, int]) -> None:
    with VM() as vm:
        assert vm.qmp.version[:2] == qemu_version
        assert vm.query_accelerator() == ("qtest" if starts_with_qtest() else "tcg")
        assert vm.qmp.execute(QueryStatus()).status == "running"
    assert vm.process.exit_status == 0


def test_a_vm_runs_on_the_accelerator_asked_for() -> None:
    with VM(accelerator="tcg", machine="none") as vm:
        arguments = vm.process.argv
        assert arguments[arguments.index("-accel") + 1] == "tcg"
        assert arguments[arguments.index("-machine") + 1] == "none"
    assert vm.process.exit_status == 0


ANSWERING = """\
import json, socket, sys
fd = next(int(word.split("fd=")[1]) for word in sys.argv if "fd=" in word)
sock = socket.socket(fileno=fd)
version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
sock.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\\n")
for line in sock.makefile("rb"):
    request = json.loads(line)
    name = request["execute"]
    reply = [{"name": f"{name}-accel"} for name in ACCELERATORS] if "types" in name else {}
    sock.sendall(json.dumps({"return": reply, "id": request.get("id")}).encode() + b"\\n")
    if name == "quit":
        break
"""


def _qemu_with(folder: Path, *accelerators: str) -> Path:
    """A program that answers what a QEMU with these accelerators would."""
    source = ANSWERING.replace("ACCELERATORS", repr(accelerators))
    return python_program(folder / "qemu", source)


def test_an_accelerator_that_the_binary_lacks_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="'kvm'") as caught:
        VM(program=_qemu_with(tmp_path, "tcg", "qtest"), accelerator="kvm").launch()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("available", "chosen"), [(("tcg", "qtest"), "qtest"), (("tcg",), "tcg"), (("kvm",), "tcg")]
)
def test_qtest_is_chosen_where_the_binary_has_it(
    available: tuple[str, ...], chosen: str, tmp_path: Path
) -> None:
    assert VM(program=_qemu_with(tmp_path, *available)).query_accelerator() == chosen


def test_stop_may_be_repeated() -> None:
    daemon = StorageDaemon()
    assert daemon.stop() is None
    daemon.launch()
    assert daemon.stop() == 0
    assert daemon.stop() == 0


def test_a_second_launch_is_a_usage_error(daemon: StorageDaemon) -> None:
    pid = daemon.process.pid
    with pytest.raises(UsageError, match="already running"):
        daemon.launch()
    assert daemon.process.pid == pid
    assert daemon.qmp.execute(QueryJobs()) == []


def test_what_was_stopped_can_be_launched_again() -> None:
    with StorageDaemon() as daemon:
        first = daemon.process.pid
        with daemon.start_nbd_server():
            pass
        daemon.stop()
        daemon.launch()
        assert daemon.process.pid != first
        with daemon.start_nbd_server():
            pass


@pytest.mark.parametrize("member", ["qmp", "process"])
def test_before_the_launch_there_is_nothing_to_use(member: str) -> None:
    with pytest.raises(UsageError, match="not been launched"):
        getattr(StorageDaemon(), member)


@KINDS
def test_a_frozen_qemu_is_killed_on_leaving(kind: type[StorageDaemon | VM]) -> None:
    qemu = kind()
    qemu.launch()
    qemu.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert qemu.stop(grace=0.2) == -signal.SIGKILL
    assert time.monotonic() - begin < 3


def test_a_block_left_by_an_error_stops_the_daemon() -> None:
    with pytest.raises(ZeroDivisionError), StorageDaemon() as daemon:
        raise ZeroDivisionError
    assert daemon.process.exit_status == 0


def test_a_block_left_by_an_error_with_the_daemon_dead_shows_the_error() -> None:
    daemon = StorageDaemon()

    def work() -> None:
        with daemon:
            os.kill(daemon.process.pid, signal.SIGKILL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert daemon.process.exit_status == -signal.SIGKILL


def test_a_cancelled_launch_leaves_nothing() -> None:
    async def main(delay: float) -> None:
        async with asyncio.timeout(5):
            for qemu in (AsyncStorageDaemon(), AsyncVM()):
                launching = asyncio.create_task(qemu.launch())
                await asyncio.wait((launching,), timeout=delay)
                launching.cancel()
                await asyncio.wait((launching,))
                await qemu.stop()
                assert not qemu.is_running

    for milliseconds in (0, 1, 2, 4, 8, 12, 16, 24):
        asyncio.run(main(milliseconds / 1000))


def test_thirty_two_daemons_at_once() -> None:
    async def one() -> int:
        async with AsyncStorageDaemon() as daemon:
            assert await daemon.qmp.execute(QueryJobs()) == []
            pid = daemon.process.pid
        assert daemon.process.exit_status == 0
        return pid

    async def main() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(32)))

    pids = asyncio.run(main())
    assert len(set(pids)) == 32


def test_a_qemu_over_tcp_and_over_a_unix_path(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "second.sock"
    monitors = [
        *("--chardev", f"socket,id=tcp,host=127.0.0.1,port={port},server=on,wait=off"),
        *("--monitor", "chardev=tcp"),
        *("--chardev", f"socket,id=path,path={path},server=on,wait=off"),
        *("--monitor", "chardev=path"),
    ]
    with StorageDaemon(args=monitors) as daemon:
        for address in (("127.0.0.1", port), path, str(path)):
            with Qmp.connect(address) as qmp:
                assert qmp.execute(QueryJobs()) == []
                assert qmp.version == daemon.qmp.version


def test_launching_twice_at_once_is_a_usage_error() -> None:
    async def main() -> None:
        daemon = AsyncStorageDaemon()
        first, second = await asyncio.gather(
            daemon.launch(), daemon.launch(), return_exceptions=True
        )
        await daemon.stop()
        assert first is None
        assert isinstance(second, UsageError)

    asyncio.run(main())


def test_a_qemu_that_is_stopped_is_killed_after_the_grace() -> None:
    daemon = StorageDaemon()
    daemon.launch()
    daemon.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert daemon.stop(grace=0.3) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 2


def test_a_stop_that_is_cancelled_again_and_again_still_stops() -> None:
    async def main() -> None:
        daemon = AsyncStorageDaemon()
        await daemon.launch()
        daemon.process.send_signal(signal.SIGSTOP)
        stopping = asyncio.create_task(daemon.stop(grace=0.2))
        for _ in range(3):
            await asyncio.wait((stopping,), timeout=0.05)
            stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert not daemon.is_running

    asyncio.run(main())


def test_a_wrong_machine_is_told_in_qemus_words() -> None:
    with pytest.raises(LaunchError, match="unsupported machine type") as caught:
        VM(machine="nope").launch()
    assert "\n" not in str(caught.value)


def test_an_argument_with_a_nul_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        StorageDaemon(args=["a\0b"]).launch()


def test_no_secret_of_the_command_line_is_shown() -> None:
    with StorageDaemon(args=["--object", "secret,id=s,data=hunter2"]) as daemon:
        assert "hunter2" not in repr(daemon.process.argv)
    with pytest.raises(LaunchError) as caught:
        StorageDaemon(args=["--object", "secret,id=s,data=hunter2,nope=1"]).launch()
    error = caught.value
    assert "hunter2" not in repr((str(error), error.argv, error.output))


def test_another_event_loop_is_refused_and_nothing_hangs() -> None:
    daemon = AsyncStorageDaemon()

    async def elsewhere() -> None:
        with pytest.raises(UsageError, match="event loop"):
            await daemon.qmp.execute(QueryJobs())
        with pytest.raises(UsageError, match="event loop"):
            await daemon.stop(grace=0.1)

    with asyncio.Runner() as home:
        home.run(daemon.launch())
        asyncio.run(elsewhere())
        assert home.run(daemon.stop()) == 0


@KINDS
def test_the_id_of_our_own_connection_is_ours_to_choose(kind: type[StorageDaemon | VM]) -> None:
    with kind(qmp_id="mine") as qemu:
        chardevs = qemu.qmp.execute_raw("query-chardev")
    assert isinstance(chardevs, list)
    labels = [isinstance(each, dict) and each["label"] for each in chardevs]
    assert [label for label in labels if label != "qtest"] == ["mine"]
