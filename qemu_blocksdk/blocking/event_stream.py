# Generated from qmp/events.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.qmp.events.AsyncEventStream`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from qemu_blocksdk.codec import Event
from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Never, Self

    from qemu_blocksdk.codec import EventSelector
    from qemu_blocksdk.qmp.events import AsyncEventStream

E_co = TypeVar("E_co", bound=Event, covariant=True)
F = TypeVar("F", bound=Event)


class EventStream(SyncProxy, Generic[E_co]):
    """The events of one connection that match a subscription, in order of arrival.

    Iterate with ``for``, or take one event with :meth:`get`. The stream queues events
    from the moment of subscribing until they are read. After the connection is lost, the queued
    events are still delivered, then ConnectionLost is raised; after it was closed, iteration
    ends.
    """

    @property
    def _async(self) -> AsyncEventStream[E_co]:
        return cast("AsyncEventStream[E_co]", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    def also(self, *kinds: type[F] | EventSelector[F], **match: Never) -> EventStream[E_co | F]:
        """Add a subscription, given as in ``qmp.events``; return the stream itself.

        Raises UsageError for keywords.
        """
        return cast("EventStream[E_co | F]", EventStream._of(background_loop.call(
            lambda: self._async.also(*kinds, **match)
        )))

    def get(
        self,
        *,
        timeout: float | None = None,
        where: Callable[[E_co], bool] | None = None,
    ) -> E_co:
        """Return the next event, waiting at most ``timeout`` seconds (None: without limit).

        With ``where``, return the first event for which that returns true; events before it stay
        queued. Raises DeadlineExceeded; ConnectionLost when the stream or the connection has
        ended; MalformedReply for an event that contradicts the schema, and removes that event.
        """
        return background_loop.run(self._async.get(timeout=timeout, where=where))

    def get_nowait(self) -> E_co | None:
        """Return the next queued event; None where there is none."""
        return background_loop.call(lambda: self._async.get_nowait())

    def close(self) -> None:
        """Unsubscribe, and drop the queued events."""
        return background_loop.call(lambda: self._async.close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> E_co:
        try:
            return background_loop.run(self._async.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
