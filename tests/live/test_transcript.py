"""Transcripts of real sessions, to the last message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import JsonObject, Secret
from qemu_blocksdk.errors import CommandError, UsageError
from qemu_blocksdk.testing import Transcript

pytestmark = pytest.mark.timeout(60)


def kinds(lines: list[str]) -> list[str]:
    """What each line is, a command or event by its name."""
    found: list[str] = []
    for message in map(json.loads, lines):
        kind = next(k for k in ("QMP", "execute", "event", "return", "error") if k in message)
        found.append(message[kind] if kind in ("execute", "event") else kind)
    return found


@pytest.mark.parametrize("make", [VM, StorageDaemon])
def test_a_whole_session_is_there_from_greeting_to_quit(
    make: Callable[..., VM | StorageDaemon],
) -> None:
    lines: list[str] = []
    with Transcript(lines.append) as transcript, make(on_message=transcript) as qemu:
        qemu.qmp.execute_raw("query-block-jobs")
    names = kinds(lines)
    assert names[:3] == ["QMP", "qmp_capabilities", "return"]
    at = names.index("query-block-jobs")
    assert lines[at : at + 2] == ['{"execute": "query-block-jobs"}', '{"return": []}']
    assert names.index("quit") > at


def test_an_awaited_session_is_there_too() -> None:
    async def session(make: type[AsyncVM | AsyncStorageDaemon]) -> list[str]:
        lines: list[str] = []
        with Transcript(lines.append) as transcript:
            async with make(on_message=transcript) as qemu:
                await qemu.qmp.execute_raw("query-block-jobs")
        return kinds(lines)

    for make in (AsyncVM, AsyncStorageDaemon):
        names = asyncio.run(session(make))
        assert names[0] == "QMP"
        assert "query-block-jobs" in names
        assert names.index("quit") > names.index("query-block-jobs")


def test_an_attached_session_has_its_own_commands_and_all_events(tmp_path: Path) -> None:
    address = str(tmp_path / "monitor")
    lines: list[str] = []
    transcript = Transcript(lines.append)
    with (
        VM(monitors=[address]) as vm,
        VM.attach(address, on_message=transcript) as other,
        other.qmp.events() as events,
        transcript,
    ):
        vm.qmp.execute_raw("stop")
        vm.qmp.execute_raw("cont")
        for _ in range(2):
            events.get(timeout=10)
        with pytest.raises(CommandError):
            other.qmp.execute_raw("no-such-command")
    assert kinds(lines) == ["STOP", "RESUME", "no-such-command", "error"]


def test_two_runs_of_one_machine_read_alike() -> None:
    def no_time(message: JsonObject) -> JsonObject:
        return {**message, "timestamp": None} if "event" in message else message

    def session() -> list[str]:
        lines: list[str] = []
        transcript = Transcript(lines.append, filters=[no_time])
        with VM(on_message=transcript) as vm, transcript:
            for _ in range(20):
                vm.qmp.execute_raw("stop")
                vm.qmp.execute_raw("cont")
        return lines

    first = session()
    # QEMU sends the event before the reply.
    assert kinds(first)[:6] == ["stop", "STOP", "return", "cont", "RESUME", "return"]
    assert first == session()


def test_secrets_of_objects_are_masked(tmp_path: Path) -> None:
    lines: list[str] = []
    with (
        Transcript(lines.append) as transcript,
        StorageDaemon(secrets={"key": Secret("geheim")}, on_message=transcript) as daemon,
    ):
        daemon.qmp.execute_raw("object-add", {"qom-type": "secret", "id": "s", "data": "geheim"})
    text = "".join(lines)
    assert '"object-add"' in text
    assert "geheim" not in text


def test_a_disk_that_fills_up_costs_the_end_of_the_transcript_only(full_disk: Path) -> None:
    path = full_disk / "session.jsonl"
    transcript = Transcript(path)
    with StorageDaemon(on_message=transcript) as daemon:

        def fill() -> None:
            with transcript:
                for _ in range(20):
                    daemon.qmp.execute_raw("query-qmp-schema")

        with pytest.raises(UsageError, match=r"ends early: .*No space left"):
            fill()
        daemon.add_node(NullCo(node_name="n"))
        assert "n" in daemon.graph()
    text = path.read_text()
    assert text.endswith("}\n")
    for line in text.splitlines():
        assert isinstance(cast("object", json.loads(line)), dict)
    assert len(text) > 100_000


def test_a_transcript_goes_on_over_a_new_launch(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    with Transcript(path) as transcript:
        daemon = StorageDaemon(on_message=transcript)
        for _ in range(2):
            with daemon:
                pass
    assert kinds(path.read_text().splitlines()).count("QMP") == 2
