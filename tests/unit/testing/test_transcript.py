"""Transcripts: what goes over a connection, line by line, in its order, whole or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.aio import AsyncQmp
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import CommandError, UsageError
from qemu_blocksdk.testing import Transcript
from tests.unit.qmp.fake_server import Server, event, reply_to

pytestmark = pytest.mark.timeout(10)


def chatty(server: Server, request: Mapping[str, object]) -> None:
    """An event comes in one piece with the reply, one on each side."""
    server.send(event("STOP"), reply_to(request, {"n": 1}), event("RESUME"))


def nothing(_server: Server, _request: Mapping[str, object]) -> object:
    """Answers as most commands do."""
    return {}


def a_secret(_server: Server, _request: Mapping[str, object]) -> object:
    """Answers as `qom-get` may."""
    return "geheim"


CONVERSATION = [
    '{"execute": "x"}',
    '{"data": {}, "event": "STOP", "timestamp": 0}',
    '{"return": {"n": 1}}',
    '{"data": {}, "event": "RESUME", "timestamp": 0}',
]


def no_time(message: JsonObject) -> JsonObject:
    """A filter."""
    return {**message, "timestamp": 0} if "event" in message else message


def test_a_whole_session_begins_with_its_greeting() -> None:
    lines: list[str] = []
    with (
        Transcript(lines.append) as transcript,
        Server() as server,
        Qmp.connect(server.client, on_message=transcript) as qmp,
    ):
        qmp.execute_raw("x", {"b": 1, "a": [None]})
    assert [next(iter(json.loads(line))) for line in lines[:3]] == ["QMP", "arguments", "return"]
    assert lines[1] == '{"arguments": {"enable": ["oob"]}, "execute": "qmp_capabilities"}'
    assert lines[3:] == [
        '{"arguments": {"a": [null], "b": 1}, "execute": "x"}',
        '{"return": {"a": [null], "b": 1}}',
    ]


@pytest.mark.parametrize("repetition", range(20))
def test_messages_are_in_the_order_of_the_wire(repetition: int) -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append, filters=[no_time])
    with Server(chatty) as server, Qmp.connect(server.client, on_message=transcript) as qmp:
        events = qmp.events()
        with transcript:
            qmp.execute_raw("x")
            # What came before a reply is written when the command returns.
            assert lines[:3] == CONVERSATION[:3]
            for _ in range(2):
                events.get(timeout=5)
    assert lines == CONVERSATION


def test_an_awaited_session_is_written_alike() -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append, filters=[no_time])

    async def session(server: Server) -> None:
        async with await AsyncQmp.connect(server.client, on_message=transcript) as qmp:
            events = qmp.events()
            with transcript:
                await qmp.execute_raw("x")
                for _ in range(2):
                    await events.get(timeout=5)

    with Server(chatty) as server:
        asyncio.run(session(server))
    assert lines == CONVERSATION


def test_commands_of_several_threads_have_their_replies_behind_them() -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append)
    with Server() as server, Qmp.connect(server.client, on_message=transcript) as qmp:

        def work(name: str) -> None:
            for number in range(20):
                qmp.execute_raw(f"{name}{number}", {"me": f"{name}{number}"})

        with transcript:
            threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    messages = [json.loads(line) for line in lines]
    assert len(messages) == 120
    for number in range(20):
        for me in (f"{name}{number}" for name in "abc"):
            asked = next(i for i, m in enumerate(messages) if m.get("execute") == me)
            told = next(i for i, m in enumerate(messages) if m.get("return") == {"me": me})
            assert asked < told


def test_what_goes_over_outside_of_the_block_is_not_written() -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append)
    with Server() as server, Qmp.connect(server.client, on_message=transcript) as qmp:
        qmp.execute_raw("before")
        for name in ("first", "second"):
            with transcript:
                qmp.execute_raw(name)
            qmp.execute_raw("between")
    assert [json.loads(line).get("execute") for line in lines] == ["first", None, "second", None]


def test_secrets_are_not_written() -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append)
    with (
        Server(nothing) as server,
        Qmp.connect(server.client, on_message=transcript) as qmp,
        transcript,
    ):
        qmp.execute_raw("object-add", {"qom-type": "secret", "id": "s", "data": "geheim"})
        qmp.execute_raw("qom-set", {"path": "/x", "property": "p", "value": "geheim"})
        qmp.execute_raw("x", {"password": "geheim", "n": "json:{'password': 'geheim'}"})
    assert len(lines) == 6
    assert "geheim" not in "".join(lines)
    assert [line.count("***") for line in lines[::2]] == [1, 1, 2]


def test_a_text_that_a_command_returns_may_be_a_secret() -> None:
    lines: list[str] = []
    transcript = Transcript(lines.append)
    with (
        Server(a_secret) as server,
        Qmp.connect(server.client, on_message=transcript) as qmp,
        transcript,
    ):
        assert qmp.execute_raw("qom-get") == "geheim"
    assert lines[1] == '{"return": "***"}'


def test_a_refusal_is_written() -> None:
    def refuse(server: Server, request: Mapping[str, object]) -> None:
        server.send({"error": {"class": "GenericError", "desc": "no"}, "id": request["id"]})

    lines: list[str] = []
    transcript = Transcript(lines.append)
    with (
        Server(refuse) as server,
        Qmp.connect(server.client, on_message=transcript) as qmp,
        transcript,
        pytest.raises(CommandError),
    ):
        qmp.execute_raw("x")
    assert lines[1] == '{"error": {"class": "GenericError", "desc": "no"}}'


def test_a_filter_that_changes_its_message_changes_the_line_only() -> None:
    def clear(message: JsonObject) -> JsonObject:
        assert isinstance(message, dict)
        message.clear()
        return message

    lines: list[str] = []
    transcript = Transcript(lines.append, filters=[clear])
    with (
        Server() as server,
        Qmp.connect(server.client, on_message=transcript) as qmp,
        transcript,
    ):
        assert qmp.execute_raw("x", {"a": 1}) == {"a": 1}
    assert lines == ["{}", "{}"]


# -- files ----------------------------------------------------------------------------------


def test_a_file_has_each_line_as_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    path.write_text("of last time")
    transcript = Transcript(path, replace=True)
    with Server() as server, Qmp.connect(server.client, on_message=transcript) as qmp:
        with transcript:
            assert path.read_text() == ""
            qmp.execute_raw("x")
            assert path.read_text() == '{"execute": "x"}\n{"return": {}}\n'
        qmp.execute_raw("y")
    assert path.read_text() == '{"execute": "x"}\n{"return": {}}\n'


@pytest.mark.parametrize("name", ["missing/file", ".", "a\0b"])
def test_a_file_that_cannot_be_written_is_an_error_at_the_begin(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="cannot write the transcript"),
        Transcript(f"{tmp_path}/{name}"),
    ):
        pytest.fail("the block ran")


def test_a_full_disk_is_an_error_at_the_end_and_costs_no_command() -> None:
    transcript = Transcript("/dev/full", replace=True)
    with Server() as server, Qmp.connect(server.client, on_message=transcript) as qmp:
        with pytest.raises(UsageError, match=r"ends early: .*No space left") as caught, transcript:
            assert qmp.execute_raw("x", {"a": 1}) == {"a": 1}
        assert isinstance(caught.value.__cause__, OSError)


# -- mistakes -------------------------------------------------------------------------------


def test_a_filter_that_fails_ends_the_transcript_and_nothing_else() -> None:
    def broken(message: JsonObject) -> JsonObject:
        raise ZeroDivisionError("oh")

    lines: list[str] = []
    transcript = Transcript(lines.append, filters=[broken])
    with Server() as server, Qmp.connect(server.client, on_message=transcript) as qmp:
        with pytest.raises(UsageError, match="the transcript ends early: oh") as caught, transcript:
            assert qmp.execute_raw("x", {"a": 1}) == {"a": 1}
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert qmp.execute_raw("y") == {}
    assert lines == []


def test_the_error_of_the_block_is_not_replaced() -> None:
    def broken(line: str) -> None:
        raise ZeroDivisionError

    transcript = Transcript(broken)
    with Server() as server, Qmp.connect(server.client, on_message=transcript) as qmp:

        def fail() -> None:
            with transcript:
                qmp.execute_raw("x")
                raise KeyError

        with pytest.raises(KeyError):
            fail()


def test_a_transcript_cannot_be_begun_twice() -> None:
    with Transcript(print) as transcript, pytest.raises(UsageError, match="already"), transcript:
        pytest.fail("the block ran")


def test_what_on_message_raises_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(message: JsonObject) -> None:
        raise ZeroDivisionError

    with Server() as server, Qmp.connect(server.client, on_message=broken) as qmp:
        assert qmp.execute_raw("x", {"a": 1}) == {"a": 1}
    assert {record.message for record in caplog.records} == {"on_message raised"}
    assert caplog.records[0].levelno == logging.ERROR
