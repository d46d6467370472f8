"""Logs, transcripts, golden files, replays and faults, as they are meant to be used."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import assert_type

from qemu_blocksdk import VM, NbdServer, Qmp, StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.testing import (
    Golden,
    ReplayServer,
    Transcript,
    WithGolden,
    breakpoint_on,
    expect,
    failing_requests,
    full_disk,
    log,
    lost_server,
    record,
    suspended,
)
from qemu_blocksdk.testing.replay import Exchange, Expected, HangUp, Silent
from qemu_blocksdk.wire import BlockdevDel, JobInfo, QueryJobs, StopEvent


def of_text(text: str) -> str:
    return text.lower()


def of_message(message: JsonObject) -> JsonObject:
    return {**message, "timestamp": None}


def logs(event: JsonObject, replies: list[JsonObject]) -> None:
    log("text", filters=[of_text, str.strip, lambda text: text + "."])
    log({"execute": "stop", "arguments": {"a": [1, None, {"b": True}]}}, filters=[of_message])
    log(event, filters=(of_message, lambda message: {**message, "id": 1}), indent=4)
    log(replies, filters=[lambda messages: messages[:1]])


def transcripts(lines: list[str], address: str) -> None:
    transcript = Transcript(lines.append, filters=[of_message])
    with Transcript(Path("session.jsonl")) as begun, VM(on_message=begun):
        assert_type(begun, Transcript)
    with StorageDaemon(on_message=transcript), transcript:
        pass
    AsyncVM(on_message=transcript)
    Qmp.connect(address, on_message=transcript)
    VM.attach(address, on_message=print)


def replays(job: JobInfo) -> None:
    assert_type(expect(QueryJobs()), Expected[list[JobInfo]])
    assert_type(expect(QueryJobs()).returns([job]), Exchange)
    session = [
        expect(QueryJobs()).returns([], events=[StopEvent()], fault=HangUp(at="middle")),
        expect(BlockdevDel(node_name="n")).returns(None),
        Exchange(execute="x", arguments={"a": [1]}, says=[{"return": {}}]),
    ]
    with ReplayServer(session, faults={"greeting": Silent()}) as server:
        assert_type(server.address, str)
        server.send(StopEvent(), {"event": "OTHER"})
    with record("session.jsonl", filters=[of_message]) as recording, VM(on_message=recording):
        ReplayServer(Path("session.jsonl"), in_order=False, filters=[of_message])


def faults(vm: VM, server: NbdServer) -> None:
    with suspended(vm), suspended(server), lost_server(server), breakpoint_on(vm, "d"):
        pass
    with failing_requests(vm, NullCo(node_name="n"), "read", "write", errno=5):
        pass
    with full_disk("full", size="1M") as folder:
        assert_type(folder, Path)


async def awaited_faults(vm: AsyncVM) -> None:
    async with breakpoint_on(vm, "d", event="write_aio"):
        with suspended(vm):
            pass


class TestDisk(WithGolden, unittest.TestCase):
    def test_disk(self) -> None:
        assert_type(self.golden, Golden)
        self.golden.check("text", name="second", fmt="qcow2")
