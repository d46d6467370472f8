"""A client that gave up on a stopped QEMU leaves its reply to the next client."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import cast

import pytest

from qemu_blocksdk import VM
from qemu_blocksdk.codec import Command, JsonObject
from qemu_blocksdk.errors import CommandError, DeadlineExceeded, Unsupported
from qemu_blocksdk.wire import QomGet, QueryStatus
from tests.live.helpers import wait_until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """The monitor and the process id of an emulator that somebody else started."""
    path = tmp_path / "q.sock"
    argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "none", "-S"]
    with subprocess.Popen([*argv, "-qmp", f"unix:{path},server=on,wait=off"]) as process:
        try:
            wait_until(lambda: _listens(path), what="the monitor")
            yield path, process.pid
        finally:
            process.kill()
            path.unlink()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextlib.contextmanager
def stopped(pid: int) -> Generator[None]:
    """Keep a process from running while the block does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("given_up", ["stop", "query-qmp-schema", "no-such-command", "without id"])
def test_the_next_client_gets_its_own_replies(emulator: tuple[Path, int], given_up: str) -> None:
    path, pid = emulator
    for _ in range(6):
        if given_up == "without id":
            client = _bare_client(path)
            with client, stopped(pid):
                client.sendall(b'{"execute": "stop"}\n')
        else:
            with VM.attach(path) as vm, stopped(pid), pytest.raises(DeadlineExceeded):
                vm.qmp.execute_raw(given_up, timeout=0.02)
        with VM.attach(path, command_timeout=5) as vm:
            assert "qemu" in cast("dict[str, object]", vm.qmp.execute_raw("query-version"))
            assert vm.qmp.execute_raw("query-name") == {}
            assert vm.qmp.execute(QueryStatus()).status == "prelaunch"


def _bare_client(path: Path) -> socket.socket:
    """A client that gives its commands no ids."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(path))
    with client.makefile("rb") as lines:
        lines.readline()
        client.sendall(b'{"execute": "qmp_capabilities"}\n')
        lines.readline()
    return client


# -- a limit holds, whatever QEMU is asked for on the way ---------------------------------


_CALLS: dict[str, Callable[[VM, float], object]] = {
    "known": lambda vm, limit: vm.qmp.execute(QueryStatus(), timeout=limit),
    "asks for the schema": lambda vm, limit: vm.qmp.execute(Strange(), timeout=limit),
    "raw": lambda vm, limit: vm.qmp.execute_raw("query-block", timeout=limit),
    "event": lambda vm, limit: vm.qmp.events().get(timeout=limit),
    "connection's end": lambda vm, limit: vm.qmp.wait_lost(timeout=limit),
}


class Strange(Command[None]):
    """A command that no snapshot has, so that the server decides."""

    _name = "x-blocksdk-strange"


@pytest.mark.parametrize("call", _CALLS)
def test_a_call_keeps_its_limit_and_says_so(emulator: tuple[Path, int], call: str) -> None:
    path, pid = emulator
    with VM.attach(path, command_timeout=20) as vm:
        with stopped(pid):
            begin = time.monotonic()
            with pytest.raises(DeadlineExceeded) as caught:
                _CALLS[call](vm, 0.1)
            assert time.monotonic() - begin < 3
        assert caught.value.seconds == 0.1
        assert "after 0.1 s" in str(caught.value)
        assert vm.qmp.execute(QueryStatus()).status == "prelaunch"


def _ask_schema(vm: VM) -> object:
    return vm.qmp.schema()


def _ask_strange(vm: VM) -> object:
    return vm.qmp.execute(Strange())


@pytest.mark.parametrize("call", [_ask_schema, _ask_strange])
def test_the_limit_of_the_connection_is_the_default(
    emulator: tuple[Path, int], call: Callable[[VM], object]
) -> None:
    path, pid = emulator
    with VM.attach(path, command_timeout=0.2) as vm:
        begin = time.monotonic()
        with stopped(pid), pytest.raises(DeadlineExceeded, match=r"after 0\.2 s"):
            call(vm)
        assert time.monotonic() - begin < 3


def test_a_schema_that_comes_late_serves_the_next_command(emulator: tuple[Path, int]) -> None:
    path, pid = emulator
    sent: list[object] = []
    with VM.attach(path, on_message=lambda message: sent.append(message.get("execute"))) as vm:
        with stopped(pid):
            for _ in range(2):
                with pytest.raises(DeadlineExceeded, match="the reply to x-blocksdk-strange"):
                    vm.qmp.execute(Strange(), timeout=0.05)
        with pytest.raises(Unsupported, match="x-blocksdk-strange"):
            vm.qmp.execute(Strange())
    assert sent.count("query-qmp-schema") == 1


def test_a_refusal_is_not_kept_back_by_the_question_what_it_means(
    emulator: tuple[Path, int],
) -> None:
    """QEMU refuses, then stands still: the refusal comes out, within the limit."""
    path, pid = emulator

    def stop_at_the_question(message: JsonObject) -> None:
        if message.get("execute") == "query-qmp-schema":
            os.kill(pid, signal.SIGSTOP)

    with VM.attach(path, on_message=stop_at_the_question) as vm:
        begin = time.monotonic()
        with pytest.raises(CommandError, match="arameter"):
            vm.qmp.execute(QomGet(path="/", property="no such parameter"), timeout=0.5)
        assert time.monotonic() - begin < 3
    os.kill(pid, signal.SIGCONT)


def test_attach_keeps_its_limit(emulator: tuple[Path, int]) -> None:
    path, pid = emulator
    begin = time.monotonic()
    with stopped(pid), pytest.raises(DeadlineExceeded, match=r"after 0\.1 s"):
        VM.attach(path, timeout=0.1)
    assert time.monotonic() - begin < 3
