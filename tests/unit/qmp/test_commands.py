"""Commands and replies: in time, late, repeated, cut into pieces, from many threads."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qemu_blocksdk import Qmp
from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.socket_transport import SocketTransport
from qemu_blocksdk.testing import ReplayServer
from qemu_blocksdk.testing.replay import Exchange, Garbage, HangUp
from qemu_blocksdk.wire import JobStatusChange, QueryJobs, QueryVersion
from tests.unit.qmp.fake_server import Message, Server, event, line, pieces, reply_to

pytestmark = pytest.mark.timeout(20)


def _change(number: int, job: str = "j") -> Message:
    return event("JOB_STATUS_CHANGE", {"id": f"{job}{number}", "status": "running"})


# -- any chunking gives the same --------------------------------------------------------


@st.composite
def _script(draw: st.DrawFn) -> list[tuple[bytes, list[int]]]:
    """For each command: the messages around its reply, and where they are cut."""
    rounds: list[tuple[bytes, list[int]]] = []
    for number in range(draw(st.integers(1, 6))):
        before = draw(st.integers(0, 2))
        after = draw(st.integers(0, 2))
        strays = draw(st.integers(0, 1))
        parts: list[Message] = [_change(number) for _ in range(before)]
        parts += [{"return": {"stray": True}, "id": f"unheard-of-{number}"}] * strays
        parts += [{"return": {"n": number, "é": "ü€😀" * draw(st.integers(0, 3))}}]
        parts += [_change(number, "k") for _ in range(after)]
        size = len(line(*parts)) + 40
        cuts = draw(st.lists(st.integers(1, size), max_size=8))
        rounds.append((line(*parts), cuts))
    return rounds


def _player(rounds: list[tuple[bytes, list[int]]]) -> Server:
    """Return a server that answers the n-th command with the n-th round."""
    left = iter(rounds)

    def answer(server: Server, request: dict[str, object]) -> None:
        data, cuts = next(left)
        marked = b""
        for one in data.splitlines(keepends=True):
            message = json.loads(one)
            if "return" in message and "id" not in message and "id" in request:
                message["id"] = request["id"]
            marked += line(message)
        for piece in pieces(marked, cuts):
            server.send_bytes(piece)

    return Server(answer)


def _expected(rounds: list[tuple[bytes, list[int]]]) -> tuple[list[object], list[str]]:
    messages = [json.loads(one) for data, _ in rounds for one in data.splitlines()]
    replies = [m["return"] for m in messages if "return" in m and "id" not in m]
    return replies, [m["data"]["id"] for m in messages if "event" in m]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=_script())
def test_any_cut_of_the_bytes_gives_the_same_to_blocking_callers(
    rounds: list[tuple[bytes, list[int]]],
) -> None:
    replies, events = _expected(rounds)
    with _player(rounds) as server, Qmp.connect(server.client, command_timeout=5) as qmp:
        stream = qmp.events(JobStatusChange)
        assert [qmp.execute_raw("x") for _ in rounds] == replies
        assert [stream.get(timeout=5).id for _ in events] == events
        assert stream.get_nowait() is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=_script(), at_once=st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_to_awaiting_callers(
    rounds: list[tuple[bytes, list[int]]], at_once: bool
) -> None:
    replies, events = _expected(rounds)

    async def main(server: Server) -> None:
        async with await AsyncQmp.connect(server.client, command_timeout=5) as qmp:
            stream = qmp.events(JobStatusChange)
            if at_once:
                found = await asyncio.gather(*(qmp.execute_raw("x") for _ in rounds))
            else:
                found = [await qmp.execute_raw("x") for _ in rounds]
            assert found == replies
            assert [(await stream.get(timeout=5)).id for _ in events] == events

    with _player(rounds) as server:
        asyncio.run(main(server))


# -- replies that are not as they should be ----------------------------------------------


def test_a_reply_that_comes_twice_with_an_id_is_taken_once() -> None:
    def answer(server: Server, request: dict[str, object]) -> None:
        if "id" in request:
            server.send(reply_to(request, "first"), reply_to(request, "second"))
        else:
            held.append(request)
            if len(held) == 2:
                server.send(reply_to(held[0], "held"), reply_to(held[1], "held"))

    held: list[dict[str, object]] = []

    async def main(server: Server) -> None:
        async with await AsyncQmp.connect(server.client, command_timeout=5) as qmp:
            bare = asyncio.create_task(qmp.execute_raw("held"))
            await asyncio.sleep(0)
            for _ in range(3):
                assert await qmp.execute_raw("x") == "first"
            bare.cancel()

    with Server(answer) as server:
        asyncio.run(main(server))


def test_a_timed_out_command_does_not_confuse_the_next_one() -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        if request["execute"] == "slow":
            late.append(request)
            return None
        if late:
            server.reply(late.pop(), "late")  # just before the right one
        return "in time"

    late: list[dict[str, object]] = []
    with Server(answer) as server, Qmp.connect(server.client) as qmp:
        for _ in range(3):
            with pytest.raises(DeadlineExceeded, match="slow") as caught:
                qmp.execute_raw("slow", timeout=0.05)
            assert caught.value.seconds == 0.05
            for _ in range(3):
                assert qmp.execute_raw("quick", timeout=5) == "in time"
    assert server.commands.count("slow") == 3


def test_a_timed_out_awaited_command_does_not_confuse_the_next_one() -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        if request["execute"] == "slow":
            late.append(request)
            return None
        while late:
            server.reply(late.pop(0), "late")
        return request.get("arguments")

    late: list[dict[str, object]] = []

    async def main(server: Server) -> None:
        async with await AsyncQmp.connect(server.client) as qmp:
            with pytest.raises(DeadlineExceeded):
                await qmp.execute_raw("slow", timeout=0.02)
            cancelled = asyncio.create_task(qmp.execute_raw("slow"))
            await asyncio.wait((cancelled,), timeout=0.02)
            cancelled.cancel()
            some = (qmp.execute_raw("x", {"n": n}, timeout=5) for n in range(20))
            assert await asyncio.gather(*some) == [{"n": n} for n in range(20)]
            assert cancelled.cancelled()

    with Server(answer) as server:
        asyncio.run(main(server))


def test_what_is_sent_when_a_reply_has_just_come_gets_its_own_reply() -> None:
    """Send an event and a reply in one piece; the first waiter to wake sends a command at once."""

    def answer(server: Server, request: dict[str, object]) -> None:
        reply = reply_to(request, request["execute"])
        if request["execute"] == "one":
            server.send(_change(0), reply)
        else:
            server.send(reply)

    async def main(server: Server) -> None:
        async with await AsyncQmp.connect(server.client, command_timeout=5) as qmp:
            stream = qmp.events(JobStatusChange)

            async def other() -> object:
                await stream.get()
                return await qmp.execute_raw("two")

            for _ in range(10):
                two, one = await asyncio.gather(other(), qmp.execute_raw("one"))
                assert (two, one) == ("two", "one")

    with Server(answer) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize("data", [b"garbage\n", b"\xff\xff\n", b"[1]\n", b"[" * 99999 + b"\n"])
def test_garbage_in_place_of_a_reply_is_a_lost_connection(data: bytes) -> None:
    session = [Exchange(execute="x", fault=Garbage(data=data))]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                qmp.execute_raw("x", timeout=5)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ident", [{}, {"id": 0}, {"id": 10**9}, {"id": "1"}, {"id": [1]}])
@pytest.mark.parametrize("outcome", ["return", "error"])
def test_a_reply_that_nobody_asked_for_is_dropped(ident: Message, outcome: str) -> None:
    stray = {outcome: {"class": "GenericError", "desc": "JSON parse error"}, **ident}

    def answer(server: Server, request: dict[str, object]) -> object:
        server.send(stray)
        return None if request["execute"] == "never" else request["execute"]

    with Server(answer) as server, Qmp.connect(server.client, command_timeout=5) as qmp:
        assert [qmp.execute_raw(f"x{n}") for n in range(5)] == [f"x{n}" for n in range(5)]
        with pytest.raises(DeadlineExceeded) as caught:
            qmp.execute_raw("never", timeout=0.05)
    hint = outcome == "error" and not ident
    assert ("could not read a message: JSON parse error" in str(caught.value)) is hint
    ids = [request["id"] for request in server.requests]
    assert len(set(map(str, ids))) == len(ids)


@pytest.mark.parametrize("error", [None, {}, "words", {"class": 7}, {"desc": None}])
def test_a_malformed_refusal_is_still_a_command_error(error: JsonValue) -> None:
    arguments = {"password": "hush"}
    session = [Exchange(execute="x", arguments=arguments, says=[{"error": error}])]
    with (
        ReplayServer(session) as server,
        Qmp.connect(server.address) as qmp,
        pytest.raises(CommandError) as caught,
    ):
        qmp.execute_raw("x", arguments, timeout=5)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value) + repr(caught.value.arguments)


def test_a_huge_reply_arrives_whole() -> None:
    huge = ["x" * 1000] * 50_000
    session = [Exchange(execute="huge", says=[{"return": huge}])]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        begin = time.process_time()
        assert qmp.execute_raw("huge", timeout=15) == huge
        assert time.process_time() - begin < 5


def test_a_huge_request_arrives_whole() -> None:
    huge = "x" * 20_000_000
    with Server(stream=True) as server, Qmp.connect(server.client) as qmp:
        assert qmp.execute_raw("echo", {"huge": huge}, timeout=15) == {"huge": huge}
        assert qmp.execute_raw("echo", {"n": 1}, timeout=5) == {"n": 1}


def test_a_connection_dropped_in_the_middle_of_a_reply_is_lost() -> None:
    session = [Exchange(execute="x", fault=HangUp(at="middle"))]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        with pytest.raises(ConnectionLost, match="end of file"):
            qmp.execute_raw("x", timeout=5)
        assert not qmp.is_connected


def test_closing_ends_the_commands_in_flight() -> None:
    def answer(server: Server, request: dict[str, object]) -> None:
        arrived.set()

    arrived = threading.Event()
    with Server(answer) as server, ThreadPoolExecutor(1) as pool:
        qmp = Qmp.connect(server.client)
        running = pool.submit(qmp.execute_raw, "never")
        assert arrived.wait(5)
        qmp.close()
        with pytest.raises(ConnectionLost, match="closed"):
            running.result(timeout=5)
        qmp.close()


# -- limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [math.inf, 1e12, 1e7, threading.TIMEOUT_MAX, 3_000_000])
def test_a_command_may_have_any_time_limit(timeout: float) -> None:
    with Server() as server, Qmp.connect(server.client, command_timeout=timeout) as qmp:
        assert qmp.execute_raw("x", {"n": 1}) == {"n": 1}
        assert qmp.execute_raw("x", {"n": 1}, timeout=timeout) == {"n": 1}


@pytest.mark.parametrize("timeout", [0.0, -1.0, 1e-9])
def test_a_command_without_time_is_given_up_at_once(timeout: float) -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        return None if request["execute"] == "never" else "ok"

    with Server(answer) as server, Qmp.connect(server.client) as qmp:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            qmp.execute_raw("never", timeout=timeout)
        assert time.monotonic() - begin < 0.5
        assert qmp.execute_raw("x", timeout=5) == "ok"


def test_the_limit_of_the_connection_holds_for_every_command() -> None:
    def answer(server: Server, request: dict[str, object]) -> None:
        server.send(_change(0))  # what comes meanwhile gives no more time

    with Server(answer) as server, Qmp.connect(server.client, command_timeout=0.2) as qmp:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            qmp.execute(QueryJobs())
        assert 0.15 < time.monotonic() - begin < 1


def test_out_of_band_is_refused_where_the_server_has_none() -> None:
    with Server(oob=False) as server, Qmp.connect(server.client) as qmp:
        with pytest.raises(Unsupported, match="out-of-band"):
            qmp.execute_raw("x", oob=True)
        assert qmp.execute_raw("y") == {}
    assert server.commands == ["y"]


def test_out_of_band_goes_past_a_command_that_runs() -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        if request.get("execute") == "long":
            held.append(request)
            arrived.set()
            return None
        server.reply(request, "quick")
        server.reply(held[0], "long")
        return None

    held: list[dict[str, object]] = []
    arrived = threading.Event()
    with (
        Server(answer) as server,
        Qmp.connect(server.client, command_timeout=5) as qmp,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(qmp.execute_raw, "long")
        assert arrived.wait(5)
        assert qmp.execute_raw("quick", oob=True) == "quick"
        assert running.result(timeout=5) == "long"


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "\udcff.img", b"bytes", object(), {1, 2}, {"a": {("x",): 1}}]
)
def test_what_has_no_json_form_is_refused_before_anything_is_sent(value: object) -> None:
    with Server() as server, Qmp.connect(server.client) as qmp:
        with pytest.raises(UsageError) as caught:
            qmp.execute_raw("x", {"value": value})
        assert "\n" not in str(caught.value)
        assert qmp.execute_raw("y") == {}
    assert server.commands == ["y"]


# -- threads and loops ------------------------------------------------------------------


def test_many_threads_and_an_event_stream_each_get_their_own() -> None:
    threads, each = 16, 60

    def answer(server: Server, request: dict[str, object]) -> None:
        arguments = cast("dict[str, int]", request["arguments"])
        number = arguments["n"]
        data = line(_change(number), reply_to(request, arguments), _change(number))
        at = number * 7 % len(data)
        server.send_bytes(data, cuts=[at, at + 9] if number % 3 else [])

    def work(thread: int) -> None:
        for turn in range(each):
            wanted = {"n": thread * each + turn}
            assert qmp.execute_raw("x", wanted, timeout=10) == wanted

    with Server(answer) as server, Qmp.connect(server.client) as qmp:
        stream = qmp.events(JobStatusChange)
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work, thread) for thread in range(threads)]:
                done.result(timeout=15)
        seen = [stream.get(timeout=5).id for _ in range(2 * threads * each)]
        assert stream.get_nowait() is None
    assert sorted(seen) == sorted(f"j{n}" for n in range(threads * each) for _ in range(2))


def test_the_blocking_face_works_inside_a_running_loop() -> None:
    async def main() -> None:
        with Server() as server, Qmp.connect(server.client) as qmp:
            assert qmp.execute_raw("x", {"n": 1}) == {"n": 1}
            with qmp.events(JobStatusChange) as events:
                server.send(_change(1))
                assert events.get(timeout=5).id == "j1"

    asyncio.run(main())


def test_a_blocking_call_in_the_sdks_own_loop_is_a_usage_error() -> None:
    with Server() as server, Qmp.connect(server.client) as qmp:
        stream = qmp.events(JobStatusChange)
        for use in (
            lambda: qmp.execute(QueryJobs()),
            lambda: qmp.execute_raw("x"),
            lambda: stream.get(timeout=1),
            qmp.close,
        ):
            with pytest.raises(UsageError, match="own event loop"):
                background_loop.call(use)
        assert qmp.execute_raw("y") == {}
    assert server.commands == ["y"]


def test_memory_stays_flat_over_many_commands_and_events() -> None:
    def answer(server: Server, request: dict[str, object]) -> None:
        server.send_bytes(noise + line(reply_to(request, {})))

    noise = line(*(_change(n) for n in range(50)))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with Server(answer) as server, Qmp.connect(server.client) as qmp:
        stream = qmp.events(JobStatusChange.where(id="j7"))  # reads one of fifty
        before = 0
        for turn in range(2500):
            if turn == 500:
                before = resident()
            qmp.execute_raw("x")
            assert stream.get(timeout=5).id == "j7"
            server.requests.clear()
        assert resident() - before < 4 << 20


def test_memory_stays_flat_over_twenty_thousand_commands() -> None:
    def answer(server: Server, request: dict[str, object]) -> object:
        server.requests.clear()
        return {}

    async def main(server: Server) -> tuple[int, int]:
        async with await AsyncQmp.connect(server.client) as qmp:
            transport = qmp._transport
            assert isinstance(transport, SocketTransport)
            before = 0, 0
            for turn in range(20_000 // 50):
                if turn == 100:
                    before = len(transport._pending), sys.getallocatedblocks()
                await asyncio.gather(*(qmp.execute_raw("x") for _ in range(50)))
            return len(transport._pending) - before[0], sys.getallocatedblocks() - before[1]

    with Server(answer) as server:
        pending, blocks = asyncio.run(main(server))
    assert pending == 0
    assert blocks < 2000


def test_a_typed_reply_with_more_in_it_than_is_known_is_taken() -> None:
    qemu = {"major": 7, "minor": 2, "micro": 0, "nano": 1}
    reply: JsonObject = {"return": {"qemu": qemu, "package": "p", "colour": ["red"]}}
    session = [Exchange(execute="query-version", says=[reply])]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        version = qmp.execute(QueryVersion())
    assert version.qemu.major == 7
    assert version.unknown_members == {"colour": ["red"]}
    assert version.qemu.unknown_members == {"nano": 1}


def test_a_command_is_told_of_before_a_reply_that_is_read_at_once() -> None:
    answered = threading.Event()

    def answer(server: Server, request: dict[str, object]) -> None:
        server.send_bytes(line(reply_to(request, {})))
        answered.set()

    async def main(server: Server) -> list[JsonObject]:
        told: list[JsonObject] = []
        replied = asyncio.Event()

        def listen(message: JsonObject) -> None:
            told.append(message)
            if "return" in message:
                replied.set()

        async with await AsyncQmp.connect(server.client, on_message=listen) as qmp:
            answered.clear()
            replied.clear()
            told.clear()
            server.send(event("STOP"))
            await asyncio.sleep(0)  # the loop has found that, and reads when this goes on
            command = qmp.execute_raw("x")
            command.send(None)
            assert answered.wait(5)
            await replied.wait()
            command.close()
        return told

    with Server(answer) as server:
        told = asyncio.run(main(server))
    assert [{*message} & {"event", "execute", "return"} for message in told] == [
        {"execute"},
        {"event"},
        {"return"},
    ]
