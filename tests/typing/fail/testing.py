"""Filters of the wrong type, golden texts that are none, answers that no command has."""

from __future__ import annotations

from qemu_blocksdk import VM
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.testing import Golden, ReplayServer, Transcript, breakpoint_on, expect, log
from qemu_blocksdk.testing.replay import HangUp
from qemu_blocksdk.wire import BlockdevDel, QueryJobs


def of_text(text: str) -> str:
    return text.lower()


def of_message(message: JsonObject) -> JsonObject:
    return message


def wrong(golden: Golden) -> None:
    log("text", filters=[of_message])  # error: List item 0 has incompatible type
    log({"event": "STOP"}, filters=[of_text])  # error: List item 0 has incompatible type
    log(5)  # error: Value of type variable "M" of "log" cannot be "int"
    log("text", [of_text])  # error: Too many positional arguments
    Transcript(print, filters=[of_text])  # error: List item 0 has incompatible type
    Transcript(5)  # error: Argument 1 to "Transcript" has incompatible type "int"
    VM(on_message=of_text)  # error: Argument "on_message" to "VM" has incompatible type
    golden.check(b"text")  # error: Argument 1 to "check" of "Golden" has incompatible type
    golden.check("text", "second")  # error: Too many positional arguments


def wrong_replays(vm: VM) -> None:
    expect(QueryJobs()).returns("text")  # error: Argument 1 to "returns" of "Expected" has incompatible type "str"
    expect(BlockdevDel(node_name="n")).returns({})  # error: Argument 1 to "returns" of "Expected" has incompatible type
    ReplayServer([QueryJobs()])  # error: List item 0 has incompatible type "QueryJobs"; expected "Exchange"
    HangUp(at="end")  # error: Argument "at" to "HangUp" has incompatible type
    breakpoint_on(vm, "d", event="write")  # error: Argument "event" to "breakpoint_on" has incompatible type
