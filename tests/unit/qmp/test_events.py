"""Event streams: what they deliver, how they end, and that forgotten ones are freed."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.codec import EventSelector, JsonObject, UnknownEvent
from qemu_blocksdk.errors import ConnectionLost, DeadlineExceeded, MalformedReply, UsageError
from qemu_blocksdk.testing import ReplayServer
from qemu_blocksdk.testing.replay import Exchange, HangUp
from qemu_blocksdk.wire import (
    BlockIoError,
    BlockJobCompleted,
    BlockJobReady,
    JobStatusChange,
    MigrationPass,
)

pytestmark = pytest.mark.timeout(10)


def _event(name: str, data: JsonObject) -> JsonObject:
    stamp = {"seconds": 1700000000, "microseconds": 500000}
    return {"event": name, "data": data, "timestamp": stamp}


def _change(job: str, status: str = "running") -> JsonObject:
    return _event("JOB_STATUS_CHANGE", {"id": job, "status": status})


def _block_job(name: str, device: str) -> JsonObject:
    return _event(name, {"type": "backup", "device": device, "len": 1, "offset": 1, "speed": 0})


def test_a_stream_has_the_kinds_asked_for_in_order_of_arrival() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        some = qmp.events(BlockJobCompleted, BlockJobReady)
        everything = qmp.events()
        server.send(
            _block_job("BLOCK_JOB_READY", "a"), _change("a"), _block_job("BLOCK_JOB_COMPLETED", "a")
        )
        assert isinstance(some.get(timeout=5), BlockJobReady)
        assert isinstance(some.get(timeout=5), BlockJobCompleted)
        assert some.get_nowait() is None
        found = [type(everything.get(timeout=5)) for _ in range(3)]
        assert found == [BlockJobReady, JobStatusChange, BlockJobCompleted]


@pytest.mark.parametrize(
    "selector",
    [
        JobStatusChange.where(id="b"),
        JobStatusChange.where(status="ready"),
        JobStatusChange.where(id="b", status="ready"),
    ],
    ids=str,
)
def test_a_stream_selects_by_member(selector: EventSelector[JobStatusChange]) -> None:
    with ReplayServer([Exchange(execute="x")]) as server, Qmp.connect(server.address) as qmp:
        stream = qmp.events(selector)
        server.send(_change("a"), _change("b", "ready"), _change("bb"))
        found = stream.get(timeout=5)
        assert (found.id, found.status) == ("b", "ready")
        qmp.execute_raw("x")
        assert stream.get_nowait() is None


def test_a_selector_has_the_members_that_are_given_by_their_names_on_the_wire() -> None:
    assert MigrationPass.where(pass_=2).members == {"pass": 2}
    assert BlockIoError.where(node_name="a").members == {"node-name": "a"}
    assert BlockIoError.where() == EventSelector(kind=BlockIoError, members={})
    with pytest.raises(TypeError, match="unexpected keyword argument 'idd'"):
        JobStatusChange.where(idd="a")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_keywords_are_refused_with_what_selects() -> None:
    selects = r"^events are selected by JobStatusChange.where\(id=\.\.\.\), not by keywords$"
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        with pytest.raises(UsageError, match=selects):
            qmp.events(JobStatusChange, id="a")  # type: ignore[call-overload] # pyright: ignore
        with pytest.raises(UsageError, match=selects):
            qmp.events(BlockJobReady).also(JobStatusChange, id="a")  # type: ignore[arg-type] # pyright: ignore
        with pytest.raises(UsageError, match=r"^not an event class, .*: 'JOB_STATUS_CHANGE'"):
            qmp.events("JOB_STATUS_CHANGE")  # type: ignore[call-overload] # pyright: ignore


def test_an_event_has_its_time_and_what_is_not_known_of_it() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        stream = qmp.events(JobStatusChange)
        server.send(_event("JOB_STATUS_CHANGE", {"id": "a", "status": "novel", "why": [1]}))
        found = stream.get(timeout=5)
    assert found.timestamp == 1700000000.5
    status: str = found.status
    assert status == "novel"
    assert found.unknown_members == {"why": [1]}


def test_an_event_has_the_message_that_it_came_in() -> None:
    sent = _event("JOB_STATUS_CHANGE", {"id": "a", "status": "novel", "why": [1]})
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        stream = qmp.events()
        server.send(sent)
        found = stream.get(timeout=5)
    assert found.message == sent
    assert "timestamp" not in repr(found)
    assert JobStatusChange(id="a", status="ready").message == {}


def test_an_event_that_no_snapshot_has_is_kept_as_it_came() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        stream = qmp.events()
        server.send(_event("FROM_THE_FUTURE", {"id": 5, "x": {"y": None}}))
        found = stream.get(timeout=5)
    assert isinstance(found, UnknownEvent)
    assert found.name == "FROM_THE_FUTURE"
    assert found.data == {"id": 5, "x": {"y": None}}


@pytest.mark.parametrize(
    "strange",
    [
        {"event": "JOB_STATUS_CHANGE"},
        {"event": "JOB_STATUS_CHANGE", "data": None},
        {"event": "JOB_STATUS_CHANGE", "data": "text"},
        {"event": "JOB_STATUS_CHANGE", "data": [1]},
        {"event": "JOB_STATUS_CHANGE", "data": {}, "timestamp": None},
        {"event": "JOB_STATUS_CHANGE", "data": {}, "timestamp": {"seconds": "x"}},
        {"event": "MEMORY_DEVICE_SIZE_CHANGE", "data": 7},
        {"event": "DUMP_COMPLETED", "data": {"result": "no object"}},
        {"event": None},
        {"event": {"no": "name"}},
        {"event": ""},
        {"event": "__class__"},
        {"event": "UNKNOWN", "data": {"name": 1}},
    ],
    ids=str,
)
def test_a_strange_event_does_not_stop_what_follows(strange: JsonObject) -> None:
    session = [Exchange(execute="x", says=[strange, _change("after"), {"return": {}}])]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        everything = qmp.events()
        stream = qmp.events(JobStatusChange.where(id="after"))
        qmp.execute_raw("x", timeout=2)
        assert stream.get(timeout=2).id == "after"
        seen = [everything.get(timeout=2), everything.get(timeout=2)]
        assert getattr(seen[-1], "id", None) == "after"


@pytest.mark.parametrize(
    ("name", "data", "path"),
    [
        ("JOB_STATUS_CHANGE", {"id": {"un": "hashable"}}, "id"),
        ("JOB_STATUS_CHANGE", {"id": ["un", "hashable"]}, "id"),
        ("BLOCK_IMAGE_CORRUPTED", {"device": None, "offset": "text"}, "device"),
        ("MIGRATION", {"status": {"no": "string"}}, "status"),
        ("QUORUM_FAILURE", {"reference": 1}, "reference"),
        ("GUEST_PANICKED", {"action": "pause", "info": "no object"}, "info"),
    ],
)
def test_an_event_that_contradicts_the_schema_is_an_error_of_whoever_reads_it(
    name: str, data: JsonObject, path: str
) -> None:
    strange: JsonObject = {"event": name, "data": data}
    session = [Exchange(execute="x", says=[strange, _change("after"), {"return": {}}])]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        streams = qmp.events(), qmp.events()
        qmp.execute_raw("x", timeout=2)
        for stream in streams:
            with pytest.raises(MalformedReply, match=f"{name}.{path}: expected"):
                stream.get(timeout=2)
            assert getattr(stream.get(timeout=2), "id", None) == "after"


def test_a_wait_for_an_event_that_does_not_come_is_given_up() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        stream = qmp.events(JobStatusChange.where(id="a"))
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="JOB_STATUS_CHANGE") as caught:
            stream.get(timeout=0.1)
        assert 0.05 < time.monotonic() - begin < 1
        assert "\n" not in str(caught.value)
        server.send(_change("a"))
        assert stream.get(timeout=5).id == "a"


def test_what_has_arrived_is_delivered_before_the_loss_of_the_connection() -> None:
    says: list[JsonObject] = [_change("a"), _change("b"), {"return": {}}]
    session = [Exchange(execute="x", says=says, fault=HangUp(at="after"))]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        stream = qmp.events(JobStatusChange)
        qmp.execute_raw("x")
        qmp.wait_lost(timeout=5)
        assert [stream.get(timeout=5).id, next(stream).id] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                stream.get(timeout=5)
        late = qmp.events(JobStatusChange)
        with pytest.raises(ConnectionLost):
            late.get(timeout=5)


def test_closing_the_connection_ends_the_iteration() -> None:
    with ReplayServer([]) as server:
        with Qmp.connect(server.address) as qmp:
            stream = qmp.events(JobStatusChange)
            server.send(_change("a"))
            assert next(stream).id == "a"
        assert list(stream) == []
        with pytest.raises(ConnectionLost, match="closed"):
            stream.get(timeout=5)


def test_closing_a_stream_wakes_who_waits_for_it() -> None:
    async def main(server: ReplayServer) -> None:
        async with await AsyncQmp.connect(server.address) as qmp:
            stream = qmp.events(JobStatusChange)

            async def follow() -> list[str]:
                return [found.id async for found in stream]

            following = asyncio.create_task(follow())
            await asyncio.wait((following,), timeout=0.05)
            stream.close()
            assert await following == []
            server.send(_change("a"))
            await qmp.execute_raw("x")
            assert stream.get_nowait() is None

    with ReplayServer([Exchange(execute="x")]) as server:
        asyncio.run(main(server))


def test_two_readers_of_one_stream_share_its_events() -> None:
    async def main(server: ReplayServer) -> None:
        async with await AsyncQmp.connect(server.address) as qmp:
            stream = qmp.events(JobStatusChange)
            readers = [asyncio.create_task(stream.get(timeout=5)) for _ in range(3)]
            await asyncio.sleep(0)
            server.send(_change("a"), _change("b"), _change("c"))
            assert sorted([(await reader).id for reader in readers]) == ["a", "b", "c"]

    with ReplayServer([]) as server:
        asyncio.run(main(server))


def test_a_cancelled_reader_takes_no_event_with_it() -> None:
    async def main(server: ReplayServer) -> None:
        async with await AsyncQmp.connect(server.address) as qmp:
            stream = qmp.events(JobStatusChange)
            reader = asyncio.create_task(stream.get())
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.wait((reader,))
            server.send(_change("a"))
            assert (await stream.get(timeout=5)).id == "a"

    with ReplayServer([]) as server:
        asyncio.run(main(server))


def test_forgotten_streams_are_dropped() -> None:
    async def main(server: ReplayServer) -> None:
        async with await AsyncQmp.connect(server.address) as qmp:
            kept = qmp.events(JobStatusChange.where(id="kept"))
            for number in range(2000):
                qmp.events(JobStatusChange.where(id=f"job{number}"))
                qmp.events(JobStatusChange)
            gc.collect()
            server.send(_change("kept"))
            assert (await kept.get(timeout=5)).id == "kept"
            assert len(qmp._events._streams) < 100

    with ReplayServer([]) as server:
        asyncio.run(main(server))


def test_an_event_is_picked_by_what_is_true_of_it_and_others_stay() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        events = qmp.events(JobStatusChange)
        server.send(*(_change(job, status) for job in "ab" for status in ("running", "null")))
        found = events.get(timeout=5, where=lambda each: each.id == "b" and each.status == "null")
        assert (found.id, found.status) == ("b", "null")
        with pytest.raises(DeadlineExceeded):
            events.get(timeout=0.05, where=lambda each: each.id == "c")
        assert [events.get(timeout=5).id for _ in range(3)] == ["a", "a", "b"]
        assert events.get_nowait() is None


def test_who_picks_an_event_sees_each_once_while_others_take_some() -> None:
    async def main() -> None:
        with ReplayServer([]) as server:
            async with await AsyncQmp.connect(server.address) as qmp:
                events = qmp.events(JobStatusChange)
                seen: list[str] = []

                def is_last(each: JobStatusChange) -> bool:
                    seen.append(each.id)
                    return each.id == "last"

                picking = asyncio.create_task(events.get(timeout=5, where=is_last))
                server.send(*(_change(str(number)) for number in range(50)))
                assert (await events.get(timeout=5, where=lambda each: each.id == "49")).id == "49"
                assert (await events.get(timeout=5)).id == "0"
                server.send(_change("last"))
                assert (await picking).id == "last"
                assert seen.count("last") == 1
                assert len(seen) < 150  # not all of them again for each that comes

    asyncio.run(main())


def test_an_error_of_the_question_is_the_callers_and_loses_nothing() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        events = qmp.events(JobStatusChange)
        server.send(_change("a"))
        with pytest.raises(ZeroDivisionError):
            events.get(timeout=5, where=lambda _: bool(1 / 0))
        assert events.get(timeout=5).id == "a"
