"""Logs, transcripts and golden files, as they are meant to be used."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import assert_type

from qemu_blocksdk import VM, Qmp, StorageDaemon
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.testing import Golden, Transcript, WithGolden, log


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


class TestDisk(WithGolden, unittest.TestCase):
    def test_disk(self) -> None:
        assert_type(self.golden, Golden)
        self.golden.check("text", name="second", fmt="qcow2")
