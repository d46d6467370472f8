"""Sessions that were recorded: what is in the file, and what plays it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import CommandError, ConnectionLost, DeadlineExceeded, UsageError
from qemu_blocksdk.testing.replay import Exchange, Fault, HangUp, ReplayServer, Silent, record
from qemu_blocksdk.wire import JobStatusChange, Resume, StopEvent

pytestmark = pytest.mark.timeout(20)

HEAD = '{"qmp-recording": 1, "pid": 4660}'  # 0x1234
GREETING = (
    '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 1}, "package": "p"},'
    ' "capabilities": ["oob"]}}'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the recording is."""
    return tmp_path / "session.jsonl"


def written(path: Path, *lines: str) -> Path:
    """A recording of these messages."""
    path.write_text("".join(f"{line}\n" for line in (HEAD, GREETING, *lines)))
    return path


# -- files --------------------------------------------------------------------------------


def test_a_file_says_what_it_is_and_has_each_message_of_either_side(path: Path) -> None:
    session = [Exchange(execute="x", arguments={"password": "geheim"}, says=[{"return": {"n": 1}}])]
    with (
        record(path) as recording,
        ReplayServer(session) as server,
        Qmp.connect(server.address, on_message=recording) as qmp,
    ):
        qmp.execute_raw("x", {"password": "geheim"})
    head, greeting, *messages = map(json.loads, path.read_text().splitlines())
    assert head == {"qmp-recording": 1, "pid": os.getpid()}
    assert "QMP" in greeting
    assert messages == [
        {"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}},
        {"return": {}},
        {"execute": "x", "arguments": {"password": "***"}},
        {"return": {"n": 1}},
    ]


def test_what_was_recorded_plays_as_it_was(path: Path) -> None:
    def session(qmp: Qmp) -> list[object]:
        events = qmp.events()
        replies = [qmp.execute_raw("x"), qmp.execute_raw("y", {"password": "geheim"})]
        with pytest.raises(CommandError, match="no way"):
            qmp.execute_raw("z")
        return [*replies, qmp.version, events.get(timeout=5), events.get(timeout=5)]

    stop: JsonObject = {"event": "STOP"}
    script = [
        Exchange(execute="x", says=[stop, {"return": [1]}]),
        Exchange(execute="y", arguments={"password": "***"}, says=[{"return": {}}, stop]),
        Exchange(execute="z", says=[{"error": {"class": "GenericError", "desc": "no way"}}]),
    ]
    with (
        record(path) as recording,
        ReplayServer(script, version=(8, 1, 2)) as server,
        Qmp.connect(server.address, on_message=recording) as qmp,
    ):
        first = session(qmp)
    with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
        assert session(qmp) == first
    assert first[2] == (8, 1, 2)


def test_what_several_asked_at_once_is_answered_to_each(path: Path) -> None:
    written(
        path,
        '{"execute": "a"}',
        '{"execute": "b", "id": "2"}',
        '{"return": "of b", "id": "2"}',
        '{"event": "RESUME"}',
        '{"return": "of a"}',
    )

    async def together(address: str) -> object:
        async with await AsyncQmp.connect(address) as qmp:
            events = qmp.events(Resume)
            found = await asyncio.gather(qmp.execute_raw("a"), qmp.execute_raw("b"))
            await events.get(timeout=5)
            return found

    with ReplayServer(path) as server:
        assert asyncio.run(together(server.address)) == ["of a", "of b"]
    # And to who waits for each.
    with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
        assert [qmp.execute_raw("a"), qmp.execute_raw("b")] == ["of a", "of b"]


def test_the_names_that_the_sdk_gives_may_be_others(path: Path) -> None:
    written(
        path,
        '{"execute": "start", "arguments": {"id": "backup-1234-0", "to": "/x/nbd-1234-1.sock"}}',
        '{"event": "JOB_STATUS_CHANGE", "data": {"id": "backup-1234-0", "status": "ready"}}',
        '{"return": {"id": "backup-1234-0"}}',
        '{"execute": "end", "arguments": {"id": "backup-1234-0"}}',
        '{"return": {}}',
    )
    with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
        events = qmp.events(JobStatusChange.where(id="backup-fe-17"))
        arguments = {"id": "backup-fe-17", "to": "/x/nbd-fe-18.sock"}
        assert qmp.execute_raw("start", arguments) == {"id": "backup-fe-17"}
        assert events.get_nowait() is not None
        qmp.execute_raw("end", {"id": "backup-fe-17"})


@pytest.mark.parametrize(
    "came", [{"id": "mirror-fe-1", "of": "j-2-3"}, {"id": "backup-fe-1", "of": "j-2-4"}]
)
def test_other_names_have_to_be_the_same(path: Path, came: dict[str, str]) -> None:
    line = '{"execute": "x", "arguments": {"id": "backup-1234-0", "of": "j-2-3"}}'
    written(path, line, '{"return": {}}')

    def play() -> None:
        with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
            with pytest.raises(CommandError, match="expected"):
                qmp.execute_raw("x", came)
            qmp.execute_raw("x", {"id": "backup-fe-1", "of": "j-2-3"})

    with pytest.raises(AssertionError):
        play()


def test_a_name_stands_for_one_other(path: Path) -> None:
    line = '{"execute": "x", "arguments": {"a": "j-1234-0", "b": "j-1234-0"}}'
    written(path, line, '{"return": {}}', line, '{"return": {}}')
    one, other = ({"a": f"j-1-{n}", "b": f"j-1-{n}"} for n in (5, 6))

    def play() -> None:
        with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
            for wrong in ({**one, "b": "j-1-6"}, one, other):
                with contextlib.suppress(CommandError):
                    qmp.execute_raw("x", wrong)
            qmp.execute_raw("x", one)

    with pytest.raises(AssertionError) as caught:
        play()
    assert str(caught.value).count("came:") == 2


def test_what_belongs_to_every_session_need_not_come_again(path: Path) -> None:
    written(
        path,
        '{"execute": "qmp_capabilities"}',
        '{"return": {}}',
        '{"event": "RESUME"}',
        '{"execute": "x"}',
        '{"return": {}}',
        '{"execute": "query-qmp-schema"}',
        '{"event": "STOP"}',
        '{"return": []}',
        '{"execute": "quit"}',
        '{"return": {}}',
        '{"event": "SHUTDOWN"}',
    )
    told: list[JsonObject] = []
    with ReplayServer(path) as server, Qmp.connect(server.address, on_message=told.append) as qmp:
        events = qmp.events(StopEvent)
        qmp.execute_raw("x")
        events.get(timeout=5)
    assert [message["event"] for message in told if "event" in message] == ["RESUME", "STOP"]
    with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
        assert qmp.execute_raw("query-qmp-schema") == []
        qmp.execute_raw("x")
        qmp.execute_raw("quit")
        qmp.wait_lost(timeout=5)


def test_where_the_recorded_qemu_died_the_connection_ends(path: Path) -> None:
    written(path, '{"execute": "x"}', '{"return": {}}', '{"execute": "y"}')
    with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
        qmp.execute_raw("x")
        with pytest.raises(ConnectionLost):
            qmp.execute_raw("y")


def test_what_was_given_up_in_the_recording_is_not_answered(path: Path) -> None:
    written(path, '{"execute": "x"}', '{"execute": "y", "id": "2"}', '{"return": {}, "id": "2"}')
    with ReplayServer(path) as server, Qmp.connect(server.address) as qmp:
        with pytest.raises(DeadlineExceeded):
            qmp.execute_raw("x", timeout=0.1)
        qmp.execute_raw("y")


def test_a_recorded_session_can_have_faults(path: Path) -> None:
    written(path, '{"execute": "x"}', '{"return": {}}', '{"execute": "y"}', '{"return": {}}')
    faults: dict[str, Fault] = {"x": Silent(), "y": HangUp()}
    with ReplayServer(path, faults=faults) as server, Qmp.connect(server.address) as qmp:
        with pytest.raises(DeadlineExceeded):
            qmp.execute_raw("x", timeout=0.1)
        with pytest.raises(ConnectionLost):
            qmp.execute_raw("y")


def test_what_filters_change_is_changed_in_the_file(path: Path) -> None:
    def anonymous(message: JsonObject) -> JsonObject:
        text: JsonObject = json.loads(json.dumps(message).replace("/home/me", "HOME"))
        return text

    def session(address: str) -> None:
        with Qmp.connect(address, on_message=recording) as qmp:
            qmp.execute_raw("x", {"file": "/home/me/disk"})

    recording = record(path, filters=[anonymous])
    arguments = {"file": "/home/me/disk"}
    with recording, ReplayServer([Exchange(execute="x", arguments=arguments)]) as server:
        session(server.address)
    assert "/home" not in path.read_text()
    with ReplayServer(path, filters=[anonymous]) as server:
        session(server.address)


# -- files that are none ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no recording"),
        (b"\n", "is no recording"),
        (b"[]\n", "is no recording"),
        (b'{"execute": "x"}\n', "is no recording"),
        (b'{"qmp-recording": "1"}\n', "is no recording"),
        (b"\x7fELF\xff\xff", "cannot read"),
        (b'{"qmp-recording": 2}\n', "of version 2, not 1"),
        (HEAD.encode(), "cut off"),
        (f'{HEAD}\n{GREETING}\n{{"exec'.encode(), "cut off"),
        (f"{HEAD}\n{GREETING}\n\n".encode(), "line 3 of .* no message"),
        (f"{HEAD}\n{GREETING}\n[1]\n".encode(), "line 3 of .* no message"),
        (f'{HEAD}\n{GREETING}\n{{"exec\n'.encode(), "line 3 of .* no message"),
        (f"{HEAD}\n{'[' * 99_999}\n".encode(), "line 2 of .* no message"),
        (f"{HEAD}\n".encode(), "not begin with QEMU's greeting"),
        (f'{HEAD}\n{{"execute": "x"}}\n'.encode(), "not begin with QEMU's greeting"),
    ],
)
def test_a_file_that_is_no_recording_is_told_in_one_sentence(
    path: Path, content: bytes, words: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        ReplayServer(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read the recording"):
        ReplayServer(f"{tmp_path}/{name}")


def test_a_disk_that_is_full_from_the_start_is_told_at_the_start() -> None:
    with pytest.raises(UsageError, match="No space left"), record("/dev/full", replace=True):
        pytest.fail("the block ran")
