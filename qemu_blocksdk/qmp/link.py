"""One socket, lines of bytes, and who may read it.

A socket has one reader at a time. Normally that is the event loop. A thread that makes
a blocking call may take the *seat* instead and read its reply itself, which saves two
thread switches (most of the cost of a command). Whatever else it then finds on the
socket it leaves in the inbox and hands the seat back: only the loop interprets what
belongs to others.

The loop watches the socket through an epoll set of its own, because that can be
disarmed from any thread and a selector's registration cannot. No JSON here.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator

from qemu_blocksdk.errors import UsageError

from . import portal

_READ_SIZES = (1 << 18,)
_AT_ONCE = (socket.MSG_DONTWAIT,)
_SEAT_LIMIT = 1.0
"""Seconds that a thread reads for itself: Ctrl-C just before it blocks is seen after that."""
MAX_MESSAGE = 1 << 28
"""Longest line accepted, in bytes: a peer that never ends its line must not fill the memory."""


class Link:
    """A connected stream socket that carries lines.

    ``on_line`` is called in the loop's thread with each line, ``on_lost`` once, with the
    reason, when nothing more will come.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_line: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._home = portal.home
        self._on_line = on_line
        self._on_lost = on_lost
        self._sock = sock
        # Only the thread in the seat may block on it: for SO_RCVTIMEO, without a call to poll.
        sock.setblocking(True)
        self._seat: dict[str, object] = {}
        self._inbox: deque[bytes] = deque()
        self._partial = bytearray()
        self._scanned = 0
        self._outbox = bytearray()
        self._outbox_lock = threading.Lock()
        self._drained = asyncio.Event()
        self._closed = False
        self._seat_timeout: float | None = None
        self._poll = select.epoll()
        self._poll.register(sock, select.EPOLLIN)
        self._loop.add_reader(self._poll.fileno(), self._on_readable)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that reads this link."""
        return self._loop

    def send(self, data: bytes) -> None:
        """Send from any thread; what the socket does not take at once, the loop sends later."""
        self._home.assert_here("this connection")
        with self._outbox_lock:
            if self._closed:
                return
            sent: list[int] = []
            try:
                if not self._outbox:
                    # One call in C: Ctrl-C cannot come between the sending and the count.
                    sent.extend(map(self._sock.send, (data,), _AT_ONCE))
            except OSError:
                pass  # full; anything worse shows up on the reading side as well
            finally:
                if not sent or sent[0] < len(data):
                    self._outbox += memoryview(data)[sum(sent) :]
                    self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._outbox_lock:
            if self._closed:
                return
            try:
                del self._outbox[: self._sock.send(self._outbox, socket.MSG_DONTWAIT)]
            except BlockingIOError:
                pass
            except OSError:
                self._outbox.clear()
            if self._outbox:
                self._loop.add_writer(self._sock, self._flush)
            else:
                self._loop.remove_writer(self._sock)
                self._drained.set()

    async def pass_fd(self, fd: int) -> None:
        """Send a descriptor, on a blank line of its own, behind what waits to be sent.

        Raises OSError for what is no open descriptor, UsageError where the socket is no
        unix socket.
        """
        self._home.assert_here("this connection")
        if self._sock.family != socket.AF_UNIX:
            raise UsageError("a descriptor is passed over a unix socket only")
        while not self._pass_fd(fd):
            await self._drained.wait()

    def _pass_fd(self, fd: int) -> bool:
        with self._outbox_lock:
            if self._closed:
                return True  # the command that goes with it says so
            if not self._outbox:
                try:
                    # socket.send_fds of Python 3.11 drops its flags.
                    rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])
                    self._sock.sendmsg([b"\n"], [rights], socket.MSG_DONTWAIT)
                    return True
                except BlockingIOError:
                    self._outbox += b"\n"  # something to tell when there is room again
                    self._loop.call_soon_threadsafe(self._flush)
                except ConnectionError:
                    return True
            self._drained.clear()
            return False

    # -- the seat -----------------------------------------------------------------------

    def _take_seat(self, who: object) -> bool:
        # A dict, not a lock: setdefault is one step, and who holds the seat can be told.
        return self._seat.setdefault("reader", who) is who

    def _leave_seat(self, who: object) -> None:
        """Give the seat up if ``who`` holds it. May be repeated, as after a Ctrl-C in here."""
        if self._seat.get("reader") is who:
            try:  # noqa: SIM105 - a context manager costs as much as a small command's JSON
                self._poll.modify(self._sock, select.EPOLLIN)
            except (ValueError, OSError):
                pass  # closed meanwhile
            self._seat.pop("reader", None)
        if self._closed or self._inbox:
            self._loop.call_soon_threadsafe(self._drain)

    # -- reading by the loop ------------------------------------------------------------

    def _on_readable(self) -> None:
        if not self._take_seat(self):
            return
        try:
            self._inbox.append(self._sock.recv(*_READ_SIZES, socket.MSG_DONTWAIT))
        except BlockingIOError:
            pass
        except OSError:
            self._inbox.append(b"")
        self._seat.clear()
        self._drain()

    def _drain(self) -> None:
        """Cut the inbox into lines and pass each on."""
        if not self._take_seat(self):
            return  # whoever holds it asks for this again
        # Cut while seated: who sits down next must not take the rest of a line for a whole one.
        lines = list(self._cut())
        end, too_long = b"" in self._inbox, self._scanned > MAX_MESSAGE
        self._inbox.clear()
        self._seat.clear()
        if self._closed:
            self._close_files()
        for line in lines:
            if self._closed:
                return
            if line.strip():
                self._on_line(line)
        if end:
            self._lose("end of file")
        elif too_long:
            self._lose(f"a message of more than {MAX_MESSAGE} bytes")

    def _cut(self) -> Iterator[bytes]:
        """Yield the complete lines of the inbox; keep the beginning of another."""
        for chunk in self._inbox:
            self._partial += chunk
            while (end := self._partial.find(b"\n", self._scanned)) >= 0:
                yield bytes(self._partial[:end])
                del self._partial[: end + 1]
                self._scanned = 0
            self._scanned = len(self._partial)

    def _lose(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_lost(reason)

    # -- reading by a thread that waits for its own reply ---------------------------------

    def ask(
        self,
        request: bytes,
        *,
        is_reply: Callable[[bytes], bool],
        timeout: float,
        hand_over: Callable[[], None],
        send_in_loop: Callable[[], None] | None = None,
    ) -> None:
        """Send a request and read its reply, from a thread that is not the loop's.

        Ends in one of two ways: ``is_reply`` took the reply's line; or ``hand_over`` was
        called, before the loop can have seen the reply, and the loop will deliver it.
        That is so when somebody else reads, when something else came along, and when the
        time ran out, and where there is a ``send_in_loop``, which sends the request instead.
        Raises UsageError in the loop's thread, which would wait for itself.
        """
        self._home.assert_here("this connection")
        portal.assert_outside(self._loop_thread)
        timeout = max(0.0, min(timeout, _SEAT_LIMIT))
        who = object()
        try:
            try:
                if send_in_loop is not None:
                    hand_over()
                    self._loop.call_soon_threadsafe(send_in_loop)
                elif not self._take_seat(who):
                    hand_over()
                    self.send(request)
                elif not self._ask_seated(request, is_reply, timeout):
                    hand_over()
            finally:
                self._leave_seat(who)
        except BaseException:
            self._leave_seat(who)  # Ctrl-C may have cut the line above short
            raise

    def _ask_seated(
        self, request: bytes, is_reply: Callable[[bytes], bool], timeout: float
    ) -> bool:
        try:
            self._poll.modify(self._sock, 0)
            self.send(request)
            # What the loop has begun to read, it finishes.
            if self._inbox or self._partial:
                return False
            if timeout != self._seat_timeout:
                # Seconds and microseconds; the kernel takes 0 for no limit.
                limit = struct.pack("@ll", int(timeout), int(timeout % 1 * 1_000_000) or 1)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                self._seat_timeout = timeout
            # One call in C from socket to inbox: Ctrl-C cannot come between and lose it.
            self._inbox.extend(map(self._sock.recv, _READ_SIZES))
        except (ValueError, OSError):  # the time ran out, or closed meanwhile
            return False
        line = self._inbox[0]
        if line.find(b"\n") != len(line) - 1 or not line or not is_reply(line):
            return False
        self._inbox.clear()
        return True

    def close(self) -> None:
        """Stop reading and close the socket; ``on_lost`` is not called. Loop's thread only."""
        if not self._home.is_here:
            return  # the connection, and the loop's epoll set with it, are the parent's
        with self._outbox_lock:
            if self._closed:
                return
            self._closed = True
            self._outbox.clear()
            self._drained.set()
        self._loop.remove_reader(self._poll.fileno())
        self._loop.remove_writer(self._sock)
        # Wakes a thread that sits in the seat.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._drain()

    def _close_files(self) -> None:
        self._poll.close()
        self._sock.close()
