"""QMP by names and dictionaries, with a queue of events, for waits in the manner of iotests.

A wait takes the events that it waits for from the queue; the others stay, in order of arrival, for
a later call. The names are those of iotests.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import CommandError, DeadlineExceeded
from qemu_blocksdk.sealed import sealed_class

if TYPE_CHECKING:
    from qemu_blocksdk import Qmp

Wait: TypeAlias = bool | float
"""False: only what is there; True: until one comes; a number: so many seconds, then an error."""
Wanted: TypeAlias = tuple[str, JsonValue]
"""The name of an event, and what :meth:`QueuedQmp.event_match` compares it with."""


@sealed_class
class QueuedQmp:
    """A QMP connection that keeps its events, from now on, until they are taken.

    Waits raise DeadlineExceeded, and ConnectionLost when no more events can come.
    """

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp
        self._events = qmp.events()
        self._kept: list[JsonObject] = []

    # -- commands -----------------------------------------------------------------------

    def qmp(self, cmd: str, conv_keys: bool = True, **args: object) -> JsonObject:
        """Send a command; return its whole reply, ``{"return": ...}`` or ``{"error": ...}``.

        Underscores in argument names become dashes, unless ``conv_keys`` is False. Raises
        ConnectionLost, DeadlineExceeded.
        """
        try:
            return {"return": self.command(cmd, conv_keys, **args)}
        except CommandError as error:
            return {"error": {"class": error.error_class, "desc": error.desc}}

    def command(self, cmd: str, conv_keys: bool = True, **args: object) -> JsonValue:
        """Like :meth:`qmp`, but return the result, or raise CommandError."""
        if conv_keys:
            args = {name.replace("_", "-"): value for name, value in args.items()}
        return self._qmp.execute_raw(cmd, args)

    # -- events -------------------------------------------------------------------------

    def get_qmp_event(self, wait: Wait = False) -> JsonObject | None:
        """Return the first event; if there is none, wait for it or return None."""
        return self._kept.pop(0) if self._has_events(wait) else None

    def get_qmp_events(self, wait: Wait = False) -> list[JsonObject]:
        """Return all events; if there are none, wait for the first."""
        self._has_events(wait)
        events, self._kept = self._kept, []
        return events

    def event_wait(
        self, name: str, timeout: float = 60.0, match: JsonValue = None
    ) -> JsonObject | None:
        """Return the first event with this name that matches, waiting ``timeout`` seconds at most.

        With timeout 0, return None if there is none.
        """
        return self.events_wait([(name, match)], timeout)

    def events_wait(self, events: Sequence[Wanted], timeout: float = 60.0) -> JsonObject | None:
        """Return the first event that matches one of these; otherwise like :meth:`event_wait`."""
        end, seen = time.monotonic() + timeout, 0
        self._take_in()
        while True:
            for index, event in enumerate(self._kept[seen:], seen):
                if any(name == event["event"] and event_match(event, m) for name, m in events):
                    return self._kept.pop(index)
            if not timeout:
                return None
            seen = len(self._kept)
            try:
                self._wait(max(0.0, end - time.monotonic()))
            except DeadlineExceeded:
                raise DeadlineExceeded(
                    f"{_wanted(events)} (there is {listed(self._kept)})", seconds=timeout
                ) from None

    def _has_events(self, wait: Wait) -> bool:
        self._take_in()
        if not self._kept and wait:
            self._wait(math.inf if wait is True else wait)
        return bool(self._kept)

    def _wait(self, seconds: float) -> None:
        event = self._events.get(timeout=None if seconds == math.inf else seconds)
        self._kept.append(event.message)
        self._take_in()

    def _take_in(self) -> None:
        while (event := self._events.get_nowait()) is not None:
            self._kept.append(event.message)

    def __repr__(self) -> str:
        return f"<events of {self._qmp!r}>"


def event_match(event: JsonValue, match: JsonValue) -> bool:
    """Return whether an event, or a part of one, has everything that ``match`` has.

    None matches anything; a dictionary matches one that has its keys with matching values.
    """
    if match is None:
        return True
    if isinstance(match, Mapping):
        return isinstance(event, Mapping) and all(
            name in event and event_match(event[name], wanted) for name, wanted in match.items()
        )
    return event == match


def listed(events: Iterable[JsonObject]) -> str:
    """Return a short text that names these events."""
    return (
        ", ".join(
            name if times == 1 else f"{name} ({times} times)"
            for name, times in Counter(map(_named, events)).items()
        )
        or "no event"
    )


def _named(event: JsonObject) -> str:
    match event.get("data"):
        case {"status": str(status)}:
            return f"{event['event']} {status}"
        case _:
            return str(event["event"])


def _wanted(events: Iterable[Wanted]) -> str:
    return " or ".join(name if match is None else f"{name} {match}" for name, match in events)
