"""The server of a recorded or written session: a unix socket and a thread.

It takes one client at a time, like QEMU's monitor; a client that reconnects continues the session.
``script.py`` chooses the answers, ``fault.py`` their faults.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from qemu_blocksdk.codec import Event, JsonObject
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.messages import parse
from qemu_blocksdk.testing.scratch import directory
from qemu_blocksdk.tools.listening_socket import ListeningSocket, checked

from .exchange import Exchange, message_of
from .fault import Fault, Garbage, HangUp, Late, Silent, Slow, Twice
from .recording import Session, read
from .script import GREETING, Script, greeting_of

_TOKEN: Final = re.compile(rb'"(?:[^"\\\n]|\\.?)*+(?:"|\Z)|[{}\n]')


class ReplayServer:
    """A QMP server that plays a session while its block runs, without a QEMU::

        with ReplayServer("session.jsonl") as server, VM.attach(server.address) as vm:

    At the end, a session that differed raises AssertionError, which shows the expected and the
    actual commands; if the block raised an exception, that gets a note instead. Negotiation,
    ``query-qmp-schema`` and ``quit`` may come at any time, or never.
    """

    def __init__(
        self,
        session: str | os.PathLike[str] | Sequence[Exchange],
        *,
        address: str | os.PathLike[str] | None = None,
        version: tuple[int, int, int] = (10, 0, 0),
        in_order: bool = True,
        filters: Iterable[Callable[[JsonObject], JsonObject]] = (),
        faults: Mapping[str, Fault] | None = None,
    ) -> None:
        """Take a session from a file of :func:`record`, or written in Python.

        ``address`` is the socket's path, by default in a directory of its own. ``version`` is the
        version of the QEMU, if the session is not from a file. With ``in_order`` False, commands
        may come in any order, any number of times, or never; a repeated one gets its last answer
        again. ``filters`` change the expected and the actual commands before they are compared.
        ``faults`` are faults of commands, by name, each time they come, and of the ``greeting``.
        Raises UsageError for a file without a session, an invalid address, and a fault of a command
        that the session does not have.
        """
        if isinstance(session, str | os.PathLike):
            whole = read(session)
        else:
            whole = Session(greeting=greeting_of(version), exchanges=session)
        self._script = Script(whole, in_order=in_order, filters=filters, faults=faults or {})
        if address is not None:
            checked(address)
        self._wanted = address
        self._held = contextlib.ExitStack()
        self._listener: ListeningSocket | None = None
        self._client: socket.socket | None = None
        self._late = b""
        self._ending = threading.Event()
        self._turn = threading.Lock()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="replay", daemon=True)

    @property
    def address(self) -> str:
        """The path of the socket. Raises UsageError outside the block."""
        if self._listener is None:
            raise UsageError("this server does not run: use its address inside its 'with' block")
        return str(self._listener.address)

    def send(self, *events: Event | JsonObject) -> None:
        """Send events to the connected client at once.

        Raises UsageError if no client is connected.
        """
        messages = [message_of(each) if isinstance(each, Event) else each for each in events]
        try:
            self._send(b"".join(map(_line, messages)))
        except OSError as error:
            raise UsageError("no client is connected to this server") from error

    def __enter__(self) -> Self:
        """Begin to listen. Raises UsageError for an address in use, and the second time."""
        if self._listener is not None or self._ending.is_set():
            raise UsageError("a session is played once: make another server")
        path = self._wanted
        with contextlib.ExitStack() as held:
            if path is None:
                path = held.enter_context(directory(short=True)) / "qmp.sock"
            try:
                listener = background_loop.run(ListeningSocket.at(checked(path)))
            except OSError as error:
                raise UsageError(f"cannot listen at {str(path)!r}: {error.strerror}") from error
            held.callback(listener.remove)
            self._listener = held.enter_context(listener)
            self._thread.start()
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        report = self._script.report(is_over=error is None)
        wrong = self._failure or (AssertionError(report) if report else None)
        if wrong is not None:
            if error is None:
                raise wrong
            error.add_note(str(wrong))

    def _stop(self) -> None:
        assert self._listener is not None
        # A client that connects now gets the end of the connection, or is noticed here.
        self._ending.set()
        for sock in (self._listener.sock, self._client):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._held.close()
        self._listener = None

    # -- the thread ---------------------------------------------------------------------

    def _serve(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):  # the server has ended
            while True:
                client, _ = self._listener.sock.accept()
                with client:
                    self._serve_one(client)

    def _serve_one(self, client: socket.socket) -> None:
        self._client, self._late = client, b""
        if self._ending.is_set():
            return
        try:
            self._say([self._script.greeting], self._script.fault_of(GREETING))
            self._answer_all(client)
        except OSError:
            pass  # the client has gone, or was hung up on
        except Exception as error:  # noqa: BLE001 - raised at the end of the block
            self._failure = error
        finally:
            self._client = None

    def _answer_all(self, client: socket.socket) -> None:
        data = b""
        while received := client.recv(1 << 16):
            data += received
            while end := _end(data):
                line, data = data[:end], data[end:]
                if line.strip():  # a blank one goes with a descriptor
                    # What a client says before it goes is in the session as well.
                    with contextlib.suppress(BrokenPipeError):
                        self._answer(line)

    def _answer(self, line: bytes) -> None:
        reply_to: JsonObject = {}
        try:
            message = parse(line)
        except ValueError:
            exchange = self._script.refused(repr(line), "a line of JSON")
        else:
            reply_to = {"id": message["id"]} if "id" in message else {}
            exchange = self._script.answer(message)
        messages = [each if "event" in each else {**each, **reply_to} for each in exchange.says]
        late, self._late = self._late, b""
        self._send(late)
        self._say(messages, exchange.fault)

    def _say(self, messages: Sequence[JsonObject], fault: Fault | None) -> None:
        lines = [_line(each) for each in messages]
        data = b"".join(lines)
        match fault:
            case None:
                self._send(data)
            case Slow():
                self._ending.wait(fault.seconds)
                self._send(data)
            case Late():
                self._late = data
            case Silent():
                pass
            case Twice():
                self._send(data + data)
            case Garbage():
                self._send(fault.data + data)
            case HangUp():
                reply = next((i for i, each in enumerate(messages) if "event" not in each), 0)
                middle = len(b"".join(lines[:reply])) + len(b"".join(lines[reply : reply + 1])) // 2
                self._send(data[: {"before": 0, "middle": middle, "after": len(data)}[fault.at]])
                raise ConnectionAbortedError

    def _send(self, data: bytes) -> None:
        client = self._client
        if client is None:
            raise ConnectionAbortedError
        with self._turn:
            client.sendall(data)

    def __repr__(self) -> str:
        place = "outside its block" if self._listener is None else f"at {self.address!r}"
        return f"<replay server {place}>"


def _end(data: bytes) -> int:
    """Return where the first message ends: with its object, as to QEMU, or its line; else 0."""
    depth = 0
    for token in _TOKEN.finditer(data):
        depth += (token[0] == b"{") - (token[0] == b"}")
        if token[0] == b"\n" or (token[0] == b"}" and not depth):
            return token.end()
    return 0


def _line(message: JsonObject) -> bytes:
    return json.dumps(message).encode() + b"\r\n"
