"""Blocking calls in a signal handler that interrupts a blocking call."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.wire import JobStatusChange
from tests.unit.qmp.fake_server import Server, event, line, reply_to

pytestmark = pytest.mark.timeout(30)


@contextlib.contextmanager
def handling(number: signal.Signals, handler: Callable[[], object]) -> Generator[None]:
    """Install a signal handler in the block; signals are handled by the main thread."""

    def handle(number: int, frame: FrameType | None) -> None:
        handler()

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def raise_signal(number: signal.Signals = signal.SIGUSR1) -> None:
    """Send the process a signal."""
    os.kill(os.getpid(), number)


def slow_until(quick: int) -> Callable[[Server, dict[str, object]], object]:
    """Answer ``slow`` after ``quick`` other commands; send a signal when it arrives."""
    held: list[dict[str, object]] = []
    seen = 0

    def answer(server: Server, request: dict[str, object]) -> object:
        nonlocal seen
        if request["execute"] == "slow":
            held.append(request)
            raise_signal()
            return None
        server.reply(request, request["execute"])
        seen += 1
        if seen >= quick and held:
            server.reply(held.pop(), "slow")
        return None

    return answer


_NESTED: dict[str, Callable[[Qmp], object]] = {
    "command": lambda qmp: qmp.execute_raw("quick") == "quick",
    "three commands": lambda qmp: [qmp.execute_raw("quick") for _ in range(3)] == ["quick"] * 3,
    "composite": lambda qmp: (
        (
            qmp.events(JobStatusChange).get_nowait(),
            qmp.execute_raw("quick"),
        )
        == (None, "quick")
    ),
    "new connection": lambda qmp: _other_connection() and qmp.execute_raw("quick") == "quick",
}


def _other_connection() -> bool:
    with Server() as other, Qmp.connect(other.client) as qmp:
        return qmp.execute_raw("x", {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("nested", _NESTED)
def test_a_call_of_a_handler_during_a_command_works(nested: str) -> None:
    done: list[object] = []
    with (
        Server(slow_until(quick=1)) as server,
        Qmp.connect(server.client, command_timeout=10) as qmp,
        handling(signal.SIGUSR1, lambda: done.append(_NESTED[nested](qmp))),
    ):
        begin = time.monotonic()
        assert qmp.execute_raw("slow") == "slow"
        assert time.monotonic() - begin < 3
        assert done == [True]
        assert qmp.execute_raw("after") == "after"


def test_a_handler_of_a_handler_works() -> None:
    done: list[object] = []

    def inner() -> None:
        done.append(qmp.execute_raw("quick"))

    def outer() -> None:
        raise_signal(signal.SIGUSR2)
        done.append(qmp.execute_raw("quick"))

    with (
        Server(slow_until(quick=2)) as server,
        Qmp.connect(server.client, command_timeout=10) as qmp,
        handling(signal.SIGUSR1, outer),
        handling(signal.SIGUSR2, inner),
    ):
        assert qmp.execute_raw("slow") == "slow"
        assert done == ["quick", "quick"]


def test_a_limit_holds_in_a_handler_and_around_it() -> None:
    def answer(server: Server, request: dict[str, object]) -> None:
        if request["execute"] == "outer":
            raise_signal()

    def handler() -> None:
        with pytest.raises(DeadlineExceeded, match=r"inner after 0\.1 s"):
            qmp.execute_raw("inner", timeout=0.1)

    with (
        Server(answer) as server,
        Qmp.connect(server.client) as qmp,
        handling(signal.SIGUSR1, handler),
    ):
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"outer after 0\.2 s"):
            qmp.execute_raw("outer", timeout=0.2)
        assert time.monotonic() - begin < 3


def test_handlers_at_any_moment_leave_every_call_its_own_reply() -> None:
    """Send one signal after another, so that they hit every part of a command."""
    commands, handled = 300, 0
    nested: list[object] = []

    def answer(server: Server, request: dict[str, object]) -> None:
        nonlocal handled
        server.send_bytes(
            line(reply_to(request, request["arguments"]))
            + line(event("JOB_STATUS_CHANGE", {"id": "j", "status": "running"}))
            if handled % 3 == 0
            else line(reply_to(request, request["arguments"]))
        )
        handled += 1

    def handler() -> None:
        arguments = {"handler": len(nested)}
        nested.append(qmp.execute_raw("x", arguments) == arguments)

    stop = threading.Event()

    def pester() -> None:
        while not stop.wait(0.002):
            raise_signal()

    with (
        Server(answer) as server,
        Qmp.connect(server.client, command_timeout=10) as qmp,
        handling(signal.SIGUSR1, handler),
    ):
        stream = qmp.events(JobStatusChange)
        pest = threading.Thread(target=pester)
        pest.start()
        begin = time.monotonic()
        try:
            for number in range(commands):
                assert qmp.execute_raw("x", {"n": number}) == {"n": number}
        finally:
            stop.set()
            pest.join()
        took = time.monotonic() - begin
        assert nested
        assert all(nested)
        for _ in range((handled + 2) // 3):
            stream.get(timeout=5)
        assert stream.get_nowait() is None
    assert took < 15


def test_a_finalizer_that_calls_is_like_a_handler() -> None:
    class Owner:
        def __del__(self) -> None:
            done.append(qmp.execute_raw("quick"))

    done: list[object] = []
    owners = [Owner()]
    with (
        Server(slow_until(quick=1)) as server,
        Qmp.connect(server.client, command_timeout=10) as qmp,
        handling(signal.SIGUSR1, owners.clear),
    ):
        assert qmp.execute_raw("slow") == "slow"
        assert done == ["quick"]
        assert qmp.execute_raw("after") == "after"
