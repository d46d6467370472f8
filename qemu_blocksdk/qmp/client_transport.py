"""QMP over a ``qemu.qmp.QMPClient`` that the caller has connected and keeps.

A monitor takes one client, so whoever holds a QMPClient cannot open a second connection. This
transport uses the public methods of the client beside its owner: it assigns no ids, removes no
listener but its own, and never disconnects. A client belongs to the event loop that it was
connected in, so it serves async callers in that loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import struct
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import cast

from qemu.qmp import (
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)
from qemu.qmp.qmp_client import BadReplyError

from qemu_blocksdk.codec import JsonObject, JsonValue
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    Unsupported,
    UsageError,
)

from . import background_loop
from .address import address_text
from .deadline import Deadline
from .messages import MAX_SIZE, MessageLog, OnMessage, parse, request_bytes, result
from .transport import NO_DESCRIPTORS, Peer, QemuVersion, fresh

_fd_locks = weakref.WeakKeyDictionary[QMPClient, asyncio.Lock]()
"""One for each client, because QEMU keeps the descriptor that came last on its connection."""

# Its disconnect() raises the cause of the end, but only its owner may call that.
_DISCONNECTED = "disconnected; its disconnect() says why"


class ClientTransport:
    """A :class:`~qemu_blocksdk.qmp.transport.Transport` over a QMPClient of the caller."""

    process: Peer | None = None
    """The process behind somebody else's connection is not known."""

    def __init__(self, client: QMPClient, on_message: OnMessage | None = None) -> None:
        """Use a client. Raises UsageError where it cannot be used from here."""
        _assert_usable(client)
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._guard = background_loop.process_guard
        self._messages = MessageLog(on_message)
        self._numbers = itertools.count()
        self._fd_lock = _fd_locks.setdefault(client, asyncio.Lock())
        self._limits = set[asyncio.Timeout]()
        self._listener: _Listener | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._has_oob = False
        self._error: BlockSdkError | None = None

    @property
    def error(self) -> BlockSdkError | None:
        """Why the session has ended, as an exception to raise; None while it is open."""
        return None if self._error is None else fresh(self._error)

    # -- begin and end --------------------------------------------------------------------

    async def open(
        self,
        *,
        on_event: Callable[[JsonObject], None],
        on_end: Callable[[], None],
        timeout: float,
    ) -> QemuVersion:
        """Register for events and for the end of the client; return QEMU's version.

        The version is in the greeting; a client that has read none asks QEMU for it.
        """
        self._listener = _Listener(on_event, self._messages)
        self._client.register_listener(self._listener)
        self._watcher = asyncio.create_task(self._watch())
        self._watcher.add_done_callback(lambda task: self._on_watched(task, on_end))
        greeting = self._client.greeting
        try:
            if greeting is not None:
                offered = greeting.QMP.capabilities
                # QMPClient enables what it is offered, where it negotiates.
                self._has_oob = "oob" in offered and self._client.negotiate
                version: object = greeting.QMP.version
            else:
                version = await self.execute("query-version", {}, Deadline(timeout))
            numbers = cast("dict[str, dict[str, int]]", version)["qemu"]
            return numbers["major"], numbers["minor"], numbers["micro"]
        except (CommandError, KeyError, TypeError) as error:
            what = f"{address_text(self._client)} is not connected to a QMP server: {error}"
            raise ConnectionLost(what) from error

    async def _watch(self) -> None:
        """Wait until the client is not connected any more."""
        if self._client.runstate is Runstate.RUNNING:
            # Any change is the end: a client that reconnects may have another QEMU.
            await self._client.runstate_changed()

    def _on_watched(self, task: asyncio.Task[None], on_end: Callable[[], None]) -> None:
        """End with the watcher, however that has ended; not where :meth:`close` has ended it."""
        if task is self._watcher:
            self._watcher = None
            if self._error is None:
                self._lose("its watcher was cancelled" if task.cancelled() else _DISCONNECTED)
            on_end()

    def _lose(self, why: str = _DISCONNECTED) -> BlockSdkError:
        """End because the client has ended; return the error to raise."""
        self._end(ConnectionLost(f"connection lost: {address_text(self._client)}: {why}"))
        assert self._error is not None
        return fresh(self._error)

    def _end(self, error: BlockSdkError) -> None:
        """Leave the client, and wake the commands in flight, which raise the first error."""
        if self._error is None:
            self._error = error
        if self._listener is not None:
            self._client.remove_listener(self._listener)
            self._listener = None
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(self._loop.time())

    def close(self) -> None:
        """Unregister from the client, which stays connected. May be repeated."""
        if not self._guard.is_here:
            return  # in a child of os.fork() the client is the parent's
        self._end(ConnectionLost("the connection was closed"))
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()

    # -- commands ---------------------------------------------------------------------------

    async def execute(
        self,
        name: str,
        arguments: JsonObject,
        deadline: Deadline,
        *,
        oob: bool = False,
        fd: int | None = None,
    ) -> JsonValue:
        """Send a command by ``QMPClient.execute``; return the value of its reply."""
        self._assert_open()
        if oob and not self._has_oob:
            raise Unsupported("out-of-band execution")
        # A message that QEMU cannot read would end the client's connection.
        number = next(self._numbers)
        request = request_bytes(name, arguments, number, oob=oob)
        if len(request) > MAX_SIZE // 6 and len(json.dumps(arguments)) > MAX_SIZE:
            raise UsageError(f"{name}: QEMU reads messages of 64 MiB at most")
        try:
            if self._messages.is_active:
                self._messages.log_command(name, arguments, number)
                self._messages.show_command(parse(request), name)
            async with self._limited(deadline, f"the reply to {name}"):
                if fd is None:
                    reply = await self._reply(name, arguments, oob)
                else:
                    async with self._fd_lock:
                        await self._send_fd(fd)
                        reply = await self._reply(name, arguments, oob)
            if self._messages.is_active:
                message = {**reply, "id": number}
                self._messages.log_received(message)
                self._messages.show_received(message)
        finally:
            self._messages.forget(number)
        return result(reply, name, arguments)

    async def _reply(self, name: str, arguments: JsonObject, oob: bool) -> JsonObject:
        """Return the reply to a command as a message."""
        try:
            value = await self._client.execute(name, arguments or None, oob)
        # Neither of the two becomes the cause of our error: they hold the arguments, secrets too.
        except ExecuteError as error:
            return cast("JsonObject", dict(error.received))
        except BadReplyError as error:
            return cast("JsonObject", dict(error.msg))
        except (StateError, ExecInterruptedError) as error:
            raise self._lose() from error
        return {"return": cast("JsonValue", value)}

    def execute_from_thread(
        self, name: str, arguments: JsonObject, deadline: Deadline, *, oob: bool = False
    ) -> JsonValue:
        """Raise UsageError: a client serves async callers in its event loop only."""
        raise UsageError(_ASYNC_ONLY)

    async def send_fd(self, fd: int) -> None:
        """Pass QEMU a copy of an open descriptor. See ``Transport.send_fd``."""
        self._assert_open()
        async with self._limited(Deadline(None), f"the passing of descriptor {fd}"), self._fd_lock:
            await self._send_fd(fd)

    async def _send_fd(self, fd: int) -> None:
        # send_fd_scm writes to the socket at once, past what the client has not sent yet and
        # even into a message that is sent in parts. QEMU has read all of it when it replies.
        await self._reply("query-version", {}, oob=False)
        try:
            self._client.send_fd_scm(fd)
        except StateError as error:
            raise self._lose() from error
        except QMPError as error:
            raise Unsupported(NO_DESCRIPTORS) from error
        except (OSError, OverflowError, struct.error) as error:
            raise UsageError(f"cannot pass descriptor {fd}: {error}") from error

    @contextlib.asynccontextmanager
    async def _limited(self, deadline: Deadline, waited_for: str) -> AsyncGenerator[None]:
        """Raise DeadlineExceeded at the deadline, and the error of the end when that comes."""
        limit = asyncio.timeout(deadline.timeout())
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise self.error or deadline.exceeded(waited_for) from None
        finally:
            self._limits.discard(limit)

    def _assert_open(self) -> None:
        self._guard.assert_here("this connection")
        if self._error is not None:
            raise fresh(self._error)
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("this connection belongs to another event loop")


class _Listener(EventListener):
    """Passes each event on as it arrives, and stores none."""

    def __init__(self, on_event: Callable[[JsonObject], None], messages: MessageLog) -> None:
        super().__init__()
        self._on_event = on_event
        self._messages = messages

    async def put(self, event: Message) -> None:
        """Pass an event on."""
        message = cast("JsonObject", dict(event))
        try:
            self._messages.log_received(message)
            self._messages.show_received(message)
            self._on_event(message)
        except Exception as error:  # noqa: BLE001 - it would end the connection of the client
            context = {"message": "an event could not be delivered", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


_ASYNC_ONLY = (
    "a QMPClient lives in the event loop of its caller, so only the async classes can use it:"
    " AsyncQmp.over(client), AsyncVM.attach(client), AsyncStorageDaemon.attach(client);"
    " for blocking calls, attach to the address of another monitor"
)


def _assert_usable(client: object) -> None:
    """Raise UsageError for what is no QMPClient, or none that can be used from here."""
    if not isinstance(client, QMPClient):
        raise UsageError(f"{client!r} is neither an address nor a qemu.qmp.QMPClient")
    if background_loop.is_current():
        raise UsageError(_ASYNC_ONLY)
    # qemu.qmp has no public name for the event loop of a client. Without this attribute, the
    # check is skipped.
    name = address_text(client)
    task: object = getattr(client, "_reader_task", None)
    if isinstance(task, asyncio.Future) and task.get_loop() is not asyncio.get_running_loop():
        raise UsageError(f"{name} belongs to another event loop than this one")
    if client.runstate is not Runstate.RUNNING:
        state = client.runstate.name.lower()
        raise UsageError(f"{name} is not connected ({state}): call its connect() first")
