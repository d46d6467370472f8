"""A command and what is said to it, as a value; and the typed way to write one down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, cast

from qemu_blocksdk.codec import Command, Event, JsonObject, JsonValue, Struct, Value, encode

from .fault import Fault

R = TypeVar("R")


class Exchange(Value):
    """A command that is expected, and the messages that answer it, in their order.

    The reply is the one with ``return`` or ``error``, and goes out with the command's id.
    ``fault`` says what is wrong with the answer. :func:`expect` makes one of typed values.
    """

    execute: str
    arguments: JsonObject | None = None
    says: Sequence[JsonObject] = ({"return": {}},)
    fault: Fault | None = None


class Expected(Generic[R]):
    """A typed command whose answer is still to be told."""

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
        """Have it return a value; ``events`` come before that, as QEMU's do, ``then`` after it."""
        reply = {"return": _json(value)}
        return self._answered([*map(message_of, events), reply, *map(message_of, then)], fault)

    def fails(
        self, desc: str, *, error_class: str = "GenericError", fault: Fault | None = None
    ) -> Exchange:
        """Have it refused, in QEMU's words."""
        return self._answered([{"error": {"class": error_class, "desc": desc}}], fault)

    def _answered(self, says: Sequence[JsonObject], fault: Fault | None) -> Exchange:
        command = self._command
        return Exchange(execute=command._name, arguments=encode(command), says=says, fault=fault)


def expect(command: Command[R]) -> Expected[R]:
    """Begin an exchange: ``expect(QueryJobs()).returns([])``."""
    return Expected(command)


def command_of(message: JsonObject) -> str:
    """Return the name of the command that a message asks for; empty where it asks for none."""
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
