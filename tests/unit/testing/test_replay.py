"""A session that was written down, played to clients that keep to it and to others."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from qemu_blocksdk import VM, Qmp, StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import JsonObject, Secret
from qemu_blocksdk.errors import (
    CommandError,
    ConnectionLost,
    UsageError,
)
from qemu_blocksdk.testing.replay import (
    Exchange,
    ReplayServer,
    Silent,
    expect,
)
from qemu_blocksdk.wire import (
    BlockdevDel,
    JobInfo,
    JobStatusChange,
    QueryBlockExports,
    QueryJobs,
    QueryVersion,
    Resume,
    StopEvent,
    VersionInfo,
    VersionTriple,
)
from qemu_blocksdk.wire import Stop as StopCommand
from tests.unit.testing.replaying import ADDED, JOBS, clean_slate, client_of

__all__ = ["clean_slate"]

pytestmark = [pytest.mark.timeout(20), pytest.mark.usefixtures("clean_slate")]


# -- a client that keeps to it ------------------------------------------------------------


def test_a_command_is_answered_with_the_typed_value_that_was_told() -> None:
    job = JobInfo(
        id="j", type="backup", status="running", current_progress=1, total_progress=2, error=None
    )
    version = VersionInfo(qemu=VersionTriple(major=9, minor=1, micro=0), package="")
    session = [expect(QueryJobs()).returns([job]), expect(QueryVersion()).returns(version)]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        assert qmp.execute(QueryJobs()) == [job]
        assert qmp.execute(QueryVersion()) == version


@pytest.mark.parametrize("kind", [VM, StorageDaemon])
def test_an_object_attaches_to_it(kind: type[VM | StorageDaemon]) -> None:
    gone = expect(BlockdevDel(node_name="n")).returns(None)
    with (
        ReplayServer([ADDED, gone], version=(7, 2, 0)) as server,
        kind.attach(server.address) as qemu,
    ):
        assert qemu.qmp.version == (7, 2, 0)
        qemu.add_node(NullCo(node_name="n")).delete()


def test_it_serves_awaiting_clients_in_the_loop_that_it_is_made_in() -> None:
    async def main() -> None:
        with ReplayServer([ADDED]) as server:
            async with await AsyncVM.attach(server.address) as vm:
                await vm.add_node(NullCo(node_name="n"))

    asyncio.run(main())


def test_it_serves_qemus_own_client_which_ends_no_line() -> None:
    async def ask(address: str) -> object:
        client = QMPClient()
        await client.connect(address)
        try:
            return await client.execute("query-jobs")
        finally:
            await client.disconnect()

    with ReplayServer([JOBS]) as server:
        assert asyncio.run(ask(server.address)) == []


def test_a_message_ends_where_its_object_does() -> None:
    pieces = [
        b'{"execute": "a", "arguments": {"x": "}',
        b'\\"{"}}{"execute": "b"}\r\n{"exe',
        b'cute": "c"}',
    ]
    session = [
        Exchange(execute="a", arguments={"x": '}"{'}),
        *(Exchange(execute=name) for name in "bc"),
    ]
    with (
        ReplayServer(session) as server,
        client_of(server) as client,
        client.makefile("rb") as lines,
    ):
        assert b"QMP" in lines.readline()
        for piece in pieces:
            client.sendall(piece)
        assert [json.loads(lines.readline()) for _ in session] == [{"return": {}}] * 3


def test_events_come_where_they_were_told() -> None:
    stop = expect(StopCommand()).returns(None, events=[StopEvent()], then=[Resume()])
    with ReplayServer([stop]) as server, Qmp.connect(server.address) as qmp:
        events = qmp.events()
        qmp.execute(StopCommand())
        assert isinstance(events.get_nowait(), StopEvent)
        assert isinstance(events.get(timeout=5), Resume)


def test_an_event_is_sent_at_any_time() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        events = qmp.events(JobStatusChange)
        server.send(JobStatusChange(id="a", status="ready"), {"event": "FROM_THE_FUTURE"})
        assert events.get(timeout=5) == JobStatusChange(id="a", status="ready")


def test_a_refusal_is_in_qemus_words() -> None:
    refused = expect(QueryJobs()).fails("no jobs here", error_class="DeviceNotFound")
    with (
        ReplayServer([refused]) as server,
        Qmp.connect(server.address) as qmp,
        pytest.raises(CommandError, match="query-jobs: no jobs here") as caught,
    ):
        qmp.execute(QueryJobs())
    assert caught.value.error_class == "DeviceNotFound"


def test_a_command_that_nobody_has_typed_is_written_as_it_is() -> None:
    session = [
        Exchange(execute="x-new", arguments={"b": 1, "a": [None]}, says=[{"return": {"n": 1}}]),
        Exchange(execute="x-newer"),
    ]
    with ReplayServer(session) as server, Qmp.connect(server.address) as qmp:
        assert qmp.execute_raw("x-new", {"a": [None], "b": 1}) == {"n": 1}
        assert qmp.execute_raw("x-newer", oob=True) == {}


def test_the_schema_is_that_of_the_release() -> None:
    for version, has_it in (((7, 2, 1), False), ((10, 0, 0), True), ((99, 1, 0), True)):
        with ReplayServer([], version=version) as server, Qmp.connect(server.address) as qmp:
            problem = qmp.schema().problem("blockdev-set-active", {"active": True})
            assert (problem is None) == has_it


def test_a_secret_is_compared_masked() -> None:
    masked = {"qom-type": "secret", "id": "s", "format": "base64", "data": "***"}
    session = [Exchange(execute="object-add", arguments=masked)]
    with ReplayServer(session) as server, VM.attach(server.address) as vm:
        vm.add_secret(Secret("geheim"), id="s")


def test_who_connects_again_goes_on() -> None:
    with ReplayServer([JOBS, ADDED]) as server:
        with Qmp.connect(server.address) as qmp:
            qmp.execute(QueryJobs())
        with VM.attach(server.address) as vm:
            vm.add_node(NullCo(node_name="n"))


def test_quit_ends_the_connection_as_qemu_does() -> None:
    with ReplayServer([]) as server, Qmp.connect(server.address) as qmp:
        qmp.execute_raw("quit")
        qmp.wait_lost(timeout=5)


def test_out_of_order_commands_come_as_often_as_they_like_or_never() -> None:
    session = [expect(QueryJobs()).returns([]), ADDED, expect(QueryBlockExports()).returns([])]
    session += [expect(QueryJobs()).fails(str(number)) for number in (1, 2)]
    with ReplayServer(session, in_order=False) as server, VM.attach(server.address) as vm:
        vm.add_node(NullCo(node_name="n"))
        assert vm.qmp.execute(QueryJobs()) == []
        for words in "1222":
            with pytest.raises(CommandError, match=words):
                vm.qmp.execute(QueryJobs())


def test_filters_make_commands_comparable() -> None:
    def without_folder(message: JsonObject) -> JsonObject:
        text: JsonObject = json.loads(json.dumps(message).replace("/tmp/a/", "").replace("/b/", ""))
        return text

    session = [Exchange(execute="x", arguments={"filename": "/tmp/a/disk"})]
    with (
        ReplayServer(session, filters=[without_folder]) as server,
        Qmp.connect(server.address) as qmp,
    ):
        qmp.execute_raw("x", {"filename": "/b/disk"})


# -- a client that does not ---------------------------------------------------------------


def test_a_command_that_was_not_expected_is_refused_and_fails_the_block() -> None:
    def play() -> None:
        with ReplayServer([JOBS, ADDED]) as server, Qmp.connect(server.address) as qmp:
            with pytest.raises(CommandError) as caught:
                qmp.execute(BlockdevDel(node_name="n"))
            words = str(caught.value)
            assert "expected" in words
            assert "query-jobs" in words
            assert "blockdev-del" in words
            qmp.execute(QueryJobs())  # what was expected still is

    with pytest.raises(AssertionError) as caught:
        play()
    assert str(caught.value).splitlines() == [
        "the session was not as it should be",
        "expected: query-jobs",
        '    came: blockdev-del {"node-name": "n"}',
        'never came: blockdev-add {"driver": "null-co", "node-name": "n"}',
    ]


def test_of_long_commands_it_is_shown_where_they_differ() -> None:
    many = [f"node{number}" for number in range(1000)]
    expected, came = ({"nodes": [*many, end], "z": many} for end in ("expected", "came"))
    with (
        pytest.raises(CommandError) as caught,
        ReplayServer([Exchange(execute="x-long", arguments=expected)]) as server,
        Qmp.connect(server.address) as qmp,
    ):
        qmp.execute_raw("x-long", came)
    words = caught.value.desc
    assert len(words) < 1200
    assert words.count("x-long") == 2
    assert '"node999", "expected"' in words
    assert '"node999", "came"' in words


@pytest.mark.parametrize("in_order", [True, False])
def test_arguments_count(in_order: bool) -> None:
    session = [expect(BlockdevDel(node_name="n")).returns(None)]

    def play() -> None:
        with (
            ReplayServer(session, in_order=in_order) as server,
            Qmp.connect(server.address) as qmp,
        ):
            with pytest.raises(CommandError, match="expected"):
                qmp.execute(BlockdevDel(node_name="other"))
            qmp.execute(BlockdevDel(node_name="n"))

    with pytest.raises(AssertionError, match=r'(?s)"n".*came:.*"other"'):
        play()


def test_the_error_of_the_block_is_not_replaced_and_has_a_note() -> None:
    with (
        pytest.raises(CommandError, match="expected nothing") as caught,
        ReplayServer([]) as server,
        Qmp.connect(server.address) as qmp,
    ):
        qmp.execute(QueryJobs())
    assert "came: " in caught.value.__notes__[0]


def test_what_did_not_come_because_the_block_failed_is_not_told() -> None:
    with pytest.raises(ZeroDivisionError) as caught, ReplayServer([JOBS]):
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("line", [b"garbage\n", b"\xff\n", b"[1]\n", b"[" * 99_999 + b"\n"])
def test_a_client_that_does_not_speak_qmp_fails_the_block(line: bytes) -> None:
    def play() -> None:
        with ReplayServer([]) as server, client_of(server) as client:
            client.sendall(line)
            with client.makefile("rb") as lines:
                assert b"QMP" in lines.readline()
                assert b"GenericError" in lines.readline()

    with pytest.raises(AssertionError, match=r"expected: a line of JSON\n    came: b"):
        play()


def test_a_part_of_a_line_from_a_client_that_dies_is_nothing() -> None:
    with ReplayServer([]) as server, client_of(server) as client:
        client.sendall(b'{"execute": "query-')


# -- mistakes -----------------------------------------------------------------------------


def test_a_server_plays_once() -> None:
    server = ReplayServer([])
    with server, pytest.raises(UsageError, match="played once"), server:
        pytest.fail("the block ran")
    with pytest.raises(UsageError, match="played once"), server:
        pytest.fail("the block ran")


def test_an_address_that_is_taken_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with ReplayServer([], address=path) as first:
        assert first.address == str(path)
        with (
            pytest.raises(UsageError, match="Address already in use") as caught,
            ReplayServer([], address=path),
        ):
            pytest.fail("the block ran")
        assert "\n" not in str(caught.value)
        with Qmp.connect(path):
            pass
    assert not path.exists()


@pytest.mark.parametrize("address", ["/tmp/" + "x" * 200, "a\0b", "/no/such/folder/qmp"])
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught, ReplayServer([], address=address):
        pytest.fail("the block ran")
    assert "\n" not in str(caught.value)


def test_a_folder_for_temporary_files_may_have_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with ReplayServer([JOBS]) as server, Qmp.connect(server.address) as client:
        path = Path(server.address)
        assert client.execute(QueryJobs()) == []
    assert not path.parent.exists()


def test_outside_of_the_block_there_is_no_address_and_nobody() -> None:
    server = ReplayServer([])
    for _ in range(2):
        with pytest.raises(UsageError, match="does not run"):
            _ = server.address
        with pytest.raises(UsageError, match="no client is connected"):
            server.send(StopEvent())
        if not server._ending.is_set():
            with server, pytest.raises(UsageError, match="no client is connected"):
                server.send(StopEvent())


def test_a_fault_of_what_is_not_in_the_session_is_refused() -> None:
    with pytest.raises(UsageError, match="'query-job', which is not in the session"):
        ReplayServer([JOBS], faults={"query-job": Silent()})


def test_a_filter_that_fails_is_told_at_the_end() -> None:
    def broken(message: JsonObject) -> JsonObject:
        return message if message["execute"] == "query-jobs" else {"n": 1 // 0}

    server = ReplayServer([JOBS], filters=[broken])

    def play() -> None:
        with server, Qmp.connect(server.address) as qmp, pytest.raises(ConnectionLost):
            qmp.execute_raw("x")

    with pytest.raises(ZeroDivisionError):
        play()
