"""A command and its answer as a value, and a typed way to write one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, cast

from qemu_blocksdk.codec import Command, Event, JsonObject, JsonValue, Struct, Value, encode

from .fault import Fault

R = TypeVar("R")


class Exchange(Value):
    """An expected command and the messages that answer it, in their order.

    The reply is the message with ``return`` or ``error``; it is sent with the id of the command.
    ``fault`` says what is wrong with the answer. :func:`expect` makes one from typed values.
    """

    execute: str
    arguments: JsonObject | None = None
    says: Sequence[JsonObject] = ({"return": {}},)
    fault: Fault | None = None


class Expected(Generic[R]):
    """A typed command that has no answer yet."""

    def __init__(self, command: Command[R]) -> None:
        self._command = command

    def returns(
        self,
        value: R,
        *,
        events: Sequence[Event] = (),
        then: Sequence[Event] = (),
        fault: Fault | None = None,
    ) -> Exchange:
        """Return a value; ``events`` are sent before the reply, ``then`` after it."""
        reply = {"return": _json(value)}
        return self._answered([*map(message_of, events), reply, *map(message_of, then)], fault)

    def fails(
        self, desc: str, *, error_class: str = "GenericError", fault: Fault | None = None
    ) -> Exchange:
        """Fail with an error of QEMU."""
        return self._answered([{"error": {"class": error_class, "desc": desc}}], fault)

    def _answered(self, says: Sequence[JsonObject], fault: Fault | None) -> Exchange:
        command = self._command
        return Exchange(execute=command._name, arguments=encode(command), says=says, fault=fault)


def expect(command: Command[R]) -> Expected[R]:
    """Begin an exchange: ``expect(QueryJobs()).returns([])``."""
    return Expected(command)


def command_of(message: JsonObject) -> str:
    """Return the name of the command in a message; empty if it has none."""
    return str(message.get("execute", message.get("exec-oob", "")))


def message_of(event: Event) -> JsonObject:
    """Return the message of an event."""
    seconds, fraction = divmod(event.timestamp, 1)
    stamp = {"seconds": int(seconds), "microseconds": int(fraction * 1_000_000)}
    return {"event": event._name, "data": encode(event), "timestamp": stamp}


def _json(value: object) -> JsonValue:
    if value is None:
        return {}
    if isinstance(value, Struct):
        return encode(value)
    if isinstance(value, list | tuple):
        return [_json(item) for item in cast("Sequence[object]", value)]
    return cast("JsonValue", value)
