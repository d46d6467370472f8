"""Event streams, and the register that delivers each event to the streams that match it.

An event is put into the queue of each matching stream when it arrives; an event without a
subscription is dropped. A stream leaves the register when it is closed or garbage-collected.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, Never, Self, TypeVar, cast

from qemu_blocksdk import wire
from qemu_blocksdk.codec import Event, EventSelector, JsonObject, JsonValue, decode_event
from qemu_blocksdk.errors import BlockSdkError, ConnectionLost, DeadlineExceeded, UsageError
from qemu_blocksdk.sealed import sealed_class

from .resource import AsyncResource

E_co = TypeVar("E_co", bound=Event, covariant=True)
F = TypeVar("F", bound=Event)

_Key = tuple[str | None, tuple[str, object] | None]
"""Event name (None: every event), and perhaps a member that identifies the event's subject."""
_IDENTITY = ("id", "device", "node-name")


class EventRegister:
    """Every open stream of one connection, indexed by event name and identity."""

    def __init__(self) -> None:
        self._streams: dict[_Key, weakref.WeakSet[AsyncEventStream[Event]]] = {}
        self._many = 64

    def add(self, stream: AsyncEventStream[Event], keys: list[_Key]) -> None:
        """Start to deliver events to a stream."""
        if len(self._streams) > self._many:
            # Streams that were garbage-collected without close() leave their keys behind.
            self._streams = {key: streams for key, streams in self._streams.items() if streams}
            self._many = 2 * len(self._streams) + 64
        for key in keys:
            self._streams.setdefault(key, weakref.WeakSet()).add(stream)

    def discard(self, stream: AsyncEventStream[Event], keys: list[_Key]) -> None:
        """Stop to deliver events to a stream."""
        for key in keys:
            streams = self._streams.get(key)
            if streams is not None:
                streams.discard(stream)
                if not streams:
                    del self._streams[key]

    def dispatch(self, message: JsonObject) -> None:
        """Deliver an event message to the streams that match it."""
        if not self._streams:
            return
        name = str(message["event"])
        data = message.get("data", {})
        keys: list[_Key] = [(None, None)]
        if isinstance(data, dict):
            keys.append((name, None))
            keys += [
                (name, (member, data[member]))
                for member in _IDENTITY
                if isinstance(data.get(member), str)
            ]
        # Each stream once, also where several of its subscriptions match.
        readers = dict.fromkeys(stream for key in keys for stream in self._streams.get(key, ()))
        if not readers:
            return
        event: Event | BlockSdkError
        try:
            event = decode_event(event_class(name), message)
        except BlockSdkError as error:
            event = error  # the stream's reader gets it in place of the event
        for stream in readers:
            stream._deliver(name, event, data if isinstance(data, dict) else {})

    def finish(self) -> None:
        """End every stream: no more events will arrive."""
        for streams in list(self._streams.values()):
            for stream in list(streams):
                stream._finish()


@sealed_class
class AsyncEventStream(AsyncResource, Generic[E_co]):
    """The events of one connection that match a subscription, in order of arrival.

    Iterate with ``async for``, or take one event with :meth:`get`. The stream queues events
    from the moment of subscribing until they are read. After the connection is lost, the queued
    events are still delivered, then ConnectionLost is raised; after it was closed, iteration
    ends.
    """

    def __init__(
        self,
        register: EventRegister,
        ended: Callable[[], BlockSdkError | None],
        kinds: tuple[type[E_co] | EventSelector[E_co], ...],
        match: Mapping[str, object],
    ) -> None:
        self._register = register
        self._ended = ended
        self._finished = False
        self._queue: deque[Event | BlockSdkError] = deque()
        self._removals = 0
        self._arrived = asyncio.Event()
        self._wanted: list[tuple[str | None, Mapping[str, JsonValue]]] = []
        self._keys: list[_Key] = []
        self._subscribe(kinds, match)

    def also(
        self, *kinds: type[F] | EventSelector[F], **match: Never
    ) -> AsyncEventStream[E_co | F]:
        """Add a subscription, given as in ``qmp.events``; return the stream itself.

        Raises UsageError for keywords.
        """
        self._subscribe(kinds, match)
        return cast("AsyncEventStream[E_co | F]", self)

    def _subscribe(
        self, kinds: tuple[type[Event] | EventSelector[Event], ...], match: Mapping[str, object]
    ) -> None:
        selectors = list(map(_selector, kinds))
        if match:
            names = [each.kind.__name__ for each in selectors] or ["JobStatusChange"]
            given = ", ".join(f"{name}=..." for name in match)
            raise UsageError(f"events are selected by {names[0]}.where({given}), not by keywords")
        keys: list[_Key] = []
        for each in selectors:
            self._wanted.append((each.kind._name, each.members))
            identity = next(
                (
                    (name, value)
                    for name, value in each.members.items()
                    if name in _IDENTITY and isinstance(value, str)
                ),
                None,
            )
            keys.append((each.kind._name, identity))
        if not selectors:
            self._wanted.append((None, {}))
            keys.append((None, None))
        self._keys += keys
        self._register.add(cast("AsyncEventStream[Event]", self), keys)

    def _deliver(self, name: str, event: Event | BlockSdkError, data: Mapping[str, object]) -> None:
        for wanted_name, members in self._wanted:
            if wanted_name in (None, name) and all(
                data.get(member) == value for member, value in members.items()
            ):
                self._queue.append(event)
                self._arrived.set()
                return

    def _finish(self) -> None:
        self._finished = True
        self._arrived.set()

    async def get(
        self, *, timeout: float | None = None, where: Callable[[E_co], bool] | None = None
    ) -> E_co:
        """Return the next event, waiting at most ``timeout`` seconds (None: without limit).

        With ``where``, return the first event for which that returns true; events before it stay
        queued. Raises DeadlineExceeded; ConnectionLost when the stream or the connection has
        ended; MalformedReply for an event that contradicts the schema, and removes that event.
        """
        try:
            return await self._next(timeout, where)
        except StopAsyncIteration:
            raise ConnectionLost("no more events: stream or connection was closed") from None

    async def _next(
        self, timeout: float | None = None, where: Callable[[E_co], bool] | None = None
    ) -> E_co:
        if self._queue and where is None:
            return self._taken(0)
        seen, removals = 0, self._removals
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if removals != self._removals:  # another reader has taken events
                        seen, removals = 0, self._removals
                    for index in range(seen, len(self._queue)):
                        event = self._queue[index]
                        is_bad = isinstance(event, BlockSdkError)
                        if is_bad or where is None or where(cast("E_co", event)):
                            return self._taken(index)
                    seen = len(self._queue)
                    if self._finished:
                        error = self._ended()
                        raise StopAsyncIteration if error is None else error
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise DeadlineExceeded(f"an event of {self}", seconds=timeout or 0.0) from None

    def get_nowait(self) -> E_co | None:
        """Return the next queued event; None where there is none."""
        return self._taken(0) if self._queue else None

    def _taken(self, index: int) -> E_co:
        event = self._queue[index]
        del self._queue[index]
        self._removals += 1
        if isinstance(event, BlockSdkError):
            raise copy.copy(event)
        return cast("E_co", event)

    def close(self) -> None:
        """Unsubscribe, and drop the queued events."""
        self._register.discard(cast("AsyncEventStream[Event]", self), self._keys)
        self._queue.clear()
        self._finish()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E_co:
        return await self._next()

    async def _leave(self, error: BaseException | None) -> None:
        self.close()

    def __repr__(self) -> str:
        parts: list[str] = []
        for name, members in self._wanted:
            match = ", ".join(f"{member}={value!r}" for member, value in members.items())
            parts.append((name or "any") + (f": {match}" if match else ""))
        return f"<events {'; '.join(parts)}>"


def _selector(kind: object) -> EventSelector[Event]:
    """Return the selector that an argument of ``events`` stands for."""
    if isinstance(kind, EventSelector):
        return cast("EventSelector[Event]", kind)
    if isinstance(kind, type) and issubclass(kind, Event):
        return EventSelector(kind=kind, members={})
    raise UsageError(f"not an event class, nor what its where() returns: {kind!r}")


@functools.cache
def event_class(name: str) -> type[Event] | None:
    """Return the class of an event by its wire name; None where no snapshot has the event."""
    camel = "".join(map(str.capitalize, name.split("_")))
    for class_name in (camel, f"{camel}Event"):  # the latter where a command is called so
        found: object = getattr(wire, class_name, None)
        if isinstance(found, type) and issubclass(found, Event):
            return found
    return None
