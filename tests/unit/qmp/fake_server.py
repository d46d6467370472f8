"""A QMP server for behaviour that no real QEMU can be made to show.

Client and server are connected by a socketpair of packets: one read of the client returns
exactly one packet of the server, so a test decides where the bytes are cut.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

Message = Mapping[str, object]
Answer = Callable[["Server", dict[str, object]], object]
"""Handles a request; its result, unless None, is sent as the reply's ``return``."""


def greeting(version: tuple[int, int, int] = (7, 2, 0), *, oob: bool = True) -> Message:
    """The greeting of a QEMU."""
    major, minor, micro = version
    qemu = {"major": major, "minor": minor, "micro": micro}
    return {
        "QMP": {
            "version": {"qemu": qemu, "package": ""},
            "capabilities": ["oob"] if oob else [],
        }
    }


def event(name: str, data: Message | None = None) -> Message:
    """An event."""
    stamp = {"seconds": 1700000000, "microseconds": 500000}
    return {"event": name, "data": data or {}, "timestamp": stamp}


def line(*messages: Message) -> bytes:
    """Encode messages as QEMU does."""
    return b"".join(json.dumps(message).encode() + b"\r\n" for message in messages)


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """Cut data at the given offsets."""
    at = sorted({cut for cut in cuts if 0 < cut < len(data)})
    for begin, end in zip([0, *at], [*at, len(data)], strict=True):
        yield data[begin:end]


def echo(_server: Server, request: dict[str, object]) -> object:
    """Answer with the request's arguments."""
    return request.get("arguments", {})


class Server:
    """Serves one connection in a thread, while its ``with`` block runs."""

    def __init__(
        self,
        answer: Answer = echo,
        *,
        version: tuple[int, int, int] = (7, 2, 0),
        oob: bool = True,
        stream: bool = False,
    ) -> None:
        kind = socket.SOCK_STREAM if stream else socket.SOCK_SEQPACKET
        self.client, self._sock = socket.socketpair(socket.AF_UNIX, kind)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._answer = answer
        self._greeting = greeting(version, oob=oob)
        self.requests: list[dict[str, object]] = []
        self.errors: list[Exception] = []
        self._thread = threading.Thread(target=self._serve, name="fake server")

    def _serve(self) -> None:
        try:
            self.send(self._greeting)
            for request in self._received():
                if request.get("execute") == "qmp_capabilities":
                    self.reply(request, {})
                    continue
                self.requests.append(request)
                result = self._answer(self, request)
                if result is not None:
                    self.reply(request, result)
        except OSError:
            pass  # the client has gone
        except Exception as error:  # noqa: BLE001 - raised again by the test's own thread
            self.errors.append(error)
        finally:
            self.hang_up()

    def _received(self) -> Iterator[dict[str, object]]:
        # A request may have no newline behind it, as a QMPClient's has none.
        text = ""
        decoder = codecs.getincrementaldecoder("utf-8")()
        while data := self._sock.recv(1 << 20):
            text = (text + decoder.decode(data)).lstrip()
            while text:
                try:
                    request, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break  # the rest is yet to come
                text = text[end:].lstrip()
                yield cast("dict[str, object]", request)

    @property
    def commands(self) -> list[str]:
        """The names of the received commands, without the negotiation."""
        return [str(r.get("execute", r.get("exec-oob"))) for r in self.requests]

    def send(self, *messages: Message, cuts: Iterable[int] = ()) -> None:
        """Send messages in one piece or cut."""
        self.send_bytes(line(*messages), cuts=cuts)

    def send_bytes(self, data: bytes, *, cuts: Iterable[int] = ()) -> None:
        """Send any bytes, in one piece or cut."""
        for piece in pieces(data, cuts):
            if self._sock.type == socket.SOCK_SEQPACKET:
                assert len(piece) <= 1 << 16, "a packet loses what is not read at once"
            self._sock.sendall(piece)

    def reply(self, request: Message, result: object, *, cuts: Iterable[int] = ()) -> None:
        """Send the reply to a request."""
        self.send(reply_to(request, result), cuts=cuts)

    def hang_up(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._thread.join(timeout=10)
        self._sock.close()
        self.client.close()
        assert not self._thread.is_alive()
        assert self.errors == []


def reply_to(request: Message, result: object) -> Message:
    """The reply to a request, with its id where it has one."""
    return {"return": result, **({"id": request["id"]} if "id" in request else {})}
