"""A server that plays a session is slow, silent, late, or says what no QEMU says."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from qemu_blocksdk import VM, Qmp
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.errors import (
    BlockSdkError,
    ConnectionLost,
    DeadlineExceeded,
)
from qemu_blocksdk.testing.replay import (
    Exchange,
    Fault,
    Garbage,
    HangUp,
    Late,
    ReplayServer,
    Silent,
    Slow,
    Twice,
    expect,
)
from qemu_blocksdk.wire import (
    QueryJobs,
    QueryNamedBlockNodes,
    StopEvent,
)
from qemu_blocksdk.wire import Stop as StopCommand
from tests.unit.testing.replaying import ADDED, JOBS, clean_slate, client_of

__all__ = ["clean_slate"]

pytestmark = [pytest.mark.timeout(20), pytest.mark.usefixtures("clean_slate")]


def faulty(fault: Fault) -> ReplayServer:
    """A server that makes a fault with one command, and answers another."""
    faulty = expect(QueryJobs()).returns([], fault=fault)
    return ReplayServer([faulty, expect(QueryNamedBlockNodes()).returns([])])


def test_what_a_client_says_before_it_goes_counts() -> None:
    session = [Exchange(execute="a", fault=Slow(seconds=0.05)), Exchange(execute="b")]
    with ReplayServer(session) as server, client_of(server) as client:
        assert b"QMP" in client.recv(1 << 16)
        client.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "a"}\n{"execute": "b"}\n')


def test_a_slow_answer_takes_its_time() -> None:
    with faulty(Slow(seconds=0.1)) as server, Qmp.connect(server.address) as qmp:
        begin = time.monotonic()
        assert qmp.execute(QueryJobs()) == []
        assert 0.1 <= time.monotonic() - begin < 2
        qmp.execute(QueryNamedBlockNodes())


@pytest.mark.parametrize("fault", [Silent(), Late(), Slow(seconds=0.3)], ids=str)
def test_a_client_that_gives_up_is_not_confused_by_what_comes_later(fault: Fault) -> None:
    with faulty(fault) as server, Qmp.connect(server.address) as qmp:
        with pytest.raises(DeadlineExceeded):
            qmp.execute(QueryJobs(), timeout=0.1)
        assert qmp.execute(QueryNamedBlockNodes()) == []


def test_a_late_answer_comes_with_the_next_command() -> None:
    with faulty(Late()) as server, client_of(server) as client, client.makefile("rb") as lines:
        lines.readline()
        client.sendall(b'{"execute": "query-jobs", "id": 1}\n')
        client.sendall(b'{"execute": "query-named-block-nodes", "id": 2}\n')
        assert [json.loads(lines.readline())["id"] for _ in range(2)] == [1, 2]


def test_an_answer_that_comes_twice_with_an_id_is_taken_once() -> None:
    session = [Exchange(execute="a", says=[]), Exchange(execute="b", fault=Twice()), JOBS]

    async def main(address: str) -> None:
        async with await AsyncVM.attach(address) as vm:
            bare = asyncio.create_task(vm.qmp.execute_raw("a"))  # the next has an id
            await asyncio.sleep(0)
            assert await vm.qmp.execute_raw("b") == {}
            assert await vm.qmp.execute(QueryJobs()) == []
            bare.cancel()

    with ReplayServer(session) as server:
        asyncio.run(main(server.address))


def test_an_answer_that_comes_twice_is_taken_once() -> None:
    twice = expect(QueryJobs()).returns([], fault=Twice())
    session = [twice, expect(QueryNamedBlockNodes()).returns([])] * 30
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        for _ in range(30):
            assert qmp.execute(QueryJobs()) == []
            assert qmp.execute(QueryNamedBlockNodes()) == []


@pytest.mark.parametrize("at", ["before", "middle"])
def test_a_connection_that_ends_before_the_end_of_a_reply_is_lost(at: str) -> None:
    with faulty(HangUp(at="before" if at == "before" else "middle")) as server:
        with Qmp.connect(server.address) as qmp, pytest.raises(ConnectionLost):
            qmp.execute(QueryJobs())
        with Qmp.connect(server.address) as qmp:
            assert qmp.execute(QueryNamedBlockNodes()) == []


def test_half_of_a_reply_is_what_comes_before_the_end() -> None:
    stop = expect(StopCommand()).returns(None, events=[StopEvent()], fault=HangUp(at="middle"))
    with ReplayServer([stop]) as server, client_of(server) as client:
        client.sendall(b'{"execute": "stop"}\n')
        with client.makefile("rb") as lines:
            _, event, half = lines
        assert b"STOP" in event
        assert half == b'{"return"'[: len(half)]
        assert half


def test_a_connection_that_ends_after_a_reply_has_given_it() -> None:
    with faulty(HangUp(at="after")) as server:
        with Qmp.connect(server.address) as qmp:
            assert qmp.execute(QueryJobs()) == []
            qmp.wait_lost(timeout=5)
        with Qmp.connect(server.address) as qmp:
            qmp.execute(QueryNamedBlockNodes())


@pytest.mark.parametrize(
    "data", [b"no JSON\n", b"\xff\xfe\n", b"[1]\n", b"x" * (1 << 20) + b"\n"], ids=lambda d: d[:7]
)
def test_garbage_ends_a_clients_connection(data: bytes) -> None:
    with faulty(Garbage(data=data)) as server:
        with Qmp.connect(server.address) as qmp, pytest.raises(ConnectionLost, match="speak QMP"):
            qmp.execute(QueryJobs())
        with Qmp.connect(server.address) as qmp:
            qmp.execute(QueryNamedBlockNodes())


def test_a_reply_to_nobody_is_passed_over() -> None:
    with (
        faulty(Garbage(data=b'{"return": {}, "id": "nobody"}\n')) as server,
        Qmp.connect(server.address) as qmp,
    ):
        assert qmp.execute(QueryJobs()) == []
        assert qmp.execute(QueryNamedBlockNodes()) == []


@pytest.mark.parametrize("name", ["greeting", "qmp_capabilities"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Silent(), DeadlineExceeded),
        (HangUp(), ConnectionLost),
        (HangUp(at="middle"), ConnectionLost),
        (Garbage(data=b"SSH-2.0\r\n"), ConnectionLost),
    ],
    ids=str,
)
def test_a_connection_fails_as_it_begins(
    name: str, fault: Fault, error: type[BlockSdkError]
) -> None:
    with ReplayServer([], faults={name: fault}) as server, pytest.raises(error):
        VM.attach(server.address, timeout=0.3)


def test_a_fault_by_name_is_there_each_time() -> None:
    with (
        ReplayServer([JOBS, JOBS, ADDED], faults={"query-jobs": Silent()}) as server,
        VM.attach(server.address) as vm,
    ):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                vm.qmp.execute(QueryJobs(), timeout=0.05)
        vm.add_node(NullCo(node_name="n"))


def test_the_block_ends_at_once_while_an_answer_is_slow() -> None:
    begin = time.monotonic()
    session = [expect(QueryJobs()).returns([], fault=Slow(seconds=60))]
    with (
        ReplayServer(session) as server,
        Qmp.connect(server.address) as qmp,
        pytest.raises(DeadlineExceeded),
    ):
        qmp.execute(QueryJobs(), timeout=0.1)
    assert time.monotonic() - begin < 5


def test_the_block_ends_at_once_while_an_answer_is_not_read() -> None:
    begin = time.monotonic()
    huge = Exchange(execute="x", says=[{"return": "x" * (16 << 20)}])
    with ReplayServer([huge]) as server, client_of(server) as client:
        client.sendall(b'{"execute": "x"}\n')
        assert b"QMP" in client.recv(1000)
        assert client.recv(10) == b'{"return":'  # and no more is read
    assert time.monotonic() - begin < 5
