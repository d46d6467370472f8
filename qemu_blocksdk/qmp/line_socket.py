"""A stream socket of lines, with a reader lock. No JSON here.

One reader at a time holds the reader lock: normally the event loop. A thread that makes a
blocking call may take the lock instead and read its reply itself, which saves two thread switches
(most of the cost of a command). It puts all other bytes that it receives into the inbox and
releases the lock; only the loop interprets the lines of others.

A signal handler may make a blocking call while its thread reads. That call first sets the
interrupted one aside (:class:`_Turn`), which then waits for its reply from the loop. So a turn does
each thing to the socket in one step in C, on a list that the other call can empty.

The loop watches the socket through an epoll set of its own, because any thread can disarm
that; it cannot disarm a registration of the loop's selector.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator

from qemu_blocksdk.errors import Unsupported

from . import background_loop
from .deadline import Deadline
from .transport import NO_DESCRIPTORS

# Less than malloc maps by itself: 256 KiB cost an mmap, an mremap and an munmap for each reply.
_READ_SIZE = 1 << 16
_AT_ONCE = (socket.MSG_DONTWAIT,)
_TURN_LIMIT = 1.0
"""Seconds that a thread blocks in recv(): Ctrl-C just before it blocks is handled after that."""
MAX_MESSAGE = 1 << 28
"""Longest line that is accepted, in bytes: a line without an end must not fill the memory."""


class _Turn:
    """One use of the socket by a thread: a request to send, a piece to receive."""

    __slots__ = ("inbox", "request", "revoke", "sent", "sizes", "stale", "to_send")

    def __init__(self, request: bytes, revoke: Callable[[_Turn], None]) -> None:
        self.request = request
        self.revoke = revoke
        self.to_send = [request]
        self.sent: list[int] = []
        self.sizes = [_READ_SIZE]
        self.inbox: list[bytes] = []
        self.stale: socket.socket | None = None

    def set_aside(self) -> None:
        """Release the socket, because another call in this thread needs it."""
        self.revoke(self)


class LineSocket:
    """A connected stream socket of lines.

    ``on_line`` is called in the loop's thread with each line; ``on_lost`` is called once, with the
    reason, when the connection has ended.
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
        self._guard = background_loop.process_guard
        self._on_line = on_line
        self._on_lost = on_lost
        self._sock = sock
        # The first of a list holds the lock. Lists, because removing oneself is a single step
        # that may be repeated and never removes another holder.
        self._readers: list[object] = []
        self._senders: list[object] = []
        self._inbox: deque[bytes] = deque()
        self._partial = bytearray()
        self._scanned = 0
        self._outbox = bytearray()
        self._drained = asyncio.Event()
        self._closed = False
        self._turn_timeout: float | None = None
        self._turn_sock: socket.socket | None = None
        # Only a thread with the reader lock blocks on it; SO_RCVTIMEO saves a call to poll.
        sock.setblocking(True)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(sock.close)
            self._poll = select.epoll()
            on_failure.callback(self._poll.close)
            self._poll.register(sock, select.EPOLLIN)
            self._loop.add_reader(self._poll.fileno(), self._on_readable)
            on_failure.pop_all()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that reads this socket."""
        return self._loop

    # -- sending by the loop --------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send from the loop's thread; what the socket does not accept at once is sent later."""
        self._guard.assert_here("this connection")
        if not self._closed:
            self._outbox += data
            self._flush()

    def _flush(self) -> None:
        if self._closed or not self._take(self._senders, self):
            return  # the thread that sends calls this again
        try:
            if self._outbox:
                del self._outbox[: self._sock.send(self._outbox, *_AT_ONCE)]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()  # the reading side notices it as well
        self._senders.remove(self)
        if self._outbox:
            self._loop.add_writer(self._sock, self._flush)
        else:
            self._loop.remove_writer(self._sock)
            self._drained.set()

    def _take_over(self, turn: _Turn) -> None:
        """Send the rest of a request that a thread has sent in part. May be repeated."""
        if turn in self._senders:
            if sent := sum(turn.sent):
                self._outbox[:0] = turn.request[sent:]
            else:
                self._outbox += turn.request
            self._senders.remove(turn)
        self._flush()

    async def send_fd(self, fd: int) -> None:
        """Send a descriptor with a blank line, after everything that waits to be sent.

        Raises OSError for a number that is no open descriptor, Unsupported where the socket is
        no unix socket.
        """
        self._guard.assert_here("this connection")
        if self._sock.family != socket.AF_UNIX:
            raise Unsupported(NO_DESCRIPTORS)
        while not self._send_fd(fd):
            await self._drained.wait()

    def _send_fd(self, fd: int) -> bool:
        if self._closed:
            return True  # the command after it raises the error
        self._drained.clear()
        if self._outbox:
            return False
        if not self._take(self._senders, self):
            self._outbox += b"\n"  # something to wait for until the thread has sent
            self._loop.call_soon(self._flush)
            return False
        try:
            # socket.send_fds of Python 3.11 drops its flags.
            rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])
            self._sock.sendmsg([b"\n"], [rights], *_AT_ONCE)
        except BlockingIOError:
            self._outbox += b"\n"  # something to wait for until there is room again
            self._loop.add_writer(self._sock, self._flush)
            return False
        except ConnectionError:
            pass
        finally:
            self._senders.remove(self)
        return True

    # -- the locks ------------------------------------------------------------------------

    @staticmethod
    def _take(holders: list[object], who: object) -> bool:
        """Take a lock if it is free; return whether it was."""
        holders.append(who)
        if holders[0] is who:
            return True
        holders.remove(who)
        return False

    @staticmethod
    def _leave(holders: list[object], who: object) -> None:
        """Release a lock if ``who`` has it. May be repeated."""
        try:  # noqa: SIM105 - a context manager costs as much as a small command's JSON
            holders.remove(who)
        except ValueError:
            pass

    # -- reading by the loop ------------------------------------------------------------

    def _on_readable(self) -> None:
        if not self._take(self._readers, self):
            return
        try:
            self._inbox.append(self._sock.recv(_READ_SIZE, *_AT_ONCE))
        except BlockingIOError:
            pass
        except OSError:
            self._inbox.append(b"")
        self._readers.remove(self)
        self._drain()

    def _drain(self) -> None:
        """Cut the inbox into lines and deliver them."""
        if not self._take(self._readers, self):
            return  # the thread that has the lock calls this again
        # Under the lock: to the next reader, the rest of a line would look like a whole one.
        lines = list(self._cut())
        end, too_long = b"" in self._inbox, self._scanned > MAX_MESSAGE
        self._inbox.clear()
        if self._closed:
            self._close_files()
        self._readers.remove(self)
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
        """Yield the complete lines of the inbox; keep an incomplete last one."""
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

    def exchange(
        self,
        request: bytes,
        *,
        is_reply: Callable[[bytes], bool],
        deadline: Deadline,
        send_in_loop: Callable[[], None] | None = None,
    ) -> None:
        """Send a request and read its reply in the calling thread, which is not the loop's.

        ``is_reply`` is called with the line that was read and returns whether it is the reply.
        It may be called never: when another reader has the lock, when other bytes arrive first,
        at the deadline, when a signal handler makes a call, and where ``send_in_loop`` sends the
        request instead. Then the loop delivers the reply (``on_line``). Raises UsageError in the
        loop's thread, which would wait for itself.
        """
        self._guard.assert_here("this connection")
        background_loop.assert_outside(self._loop_thread)
        background_loop.assert_running()
        if send_in_loop is not None:
            self._loop.call_soon_threadsafe(send_in_loop)
            return
        turn = _Turn(request, self._revoke)
        thread = threading.get_ident()
        interrupted = background_loop.reading.get(thread)
        if interrupted is not None:
            interrupted.set_aside()
        try:
            background_loop.reading[thread] = turn
            if self._take(self._readers, turn):
                self._exchange_as_reader(turn, is_reply, deadline)
            else:
                self._loop.call_soon_threadsafe(self.send, request)
        finally:
            self._end(turn, thread, interrupted)

    def _exchange_as_reader(
        self, turn: _Turn, is_reply: Callable[[bytes], bool], deadline: Deadline
    ) -> None:
        try:
            self._send_in_turn(turn)
            # Everything that can wait is done after sending, while QEMU works.
            self._poll.modify(self._sock, 0)
            sock = self._turn_sock
            if sock is None:
                sock = self._sock.dup()
                if self._turn_sock is not None or turn not in self._readers:
                    sock.close()
                    return  # a signal handler has taken the turn meanwhile
                self._turn_sock, self._turn_timeout = sock, None
            # The loop has begun to read a line, so it reads the rest.
            if self._inbox or self._partial:
                return
            timeout = min(deadline.left(), _TURN_LIMIT)
            if timeout != self._turn_timeout:
                # Seconds and microseconds; the kernel takes 0 for no limit.
                limit = struct.pack("@ll", int(timeout), int(timeout % 1 * 1_000_000) or 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                self._turn_timeout = timeout
            turn.inbox.extend(map(sock.recv, turn.sizes))
            line = turn.inbox[0]
        except (ValueError, OSError, IndexError):
            return  # the deadline, closed meanwhile, or set aside
        if line.find(b"\n") == len(line) - 1 and line and is_reply(line):
            turn.inbox.clear()

    def _send_in_turn(self, turn: _Turn) -> None:
        if not self._take(self._senders, turn):
            self._loop.call_soon_threadsafe(self.send, turn.request)
            return
        if self._outbox:
            turn.to_send.clear()
        try:  # noqa: SIM105 - as in _leave
            turn.sent.extend(map(self._sock.send, turn.to_send, _AT_ONCE))
        except OSError:
            pass  # full; anything worse shows up on the reading side as well
        self._leave_senders(turn)

    def _leave_senders(self, turn: _Turn) -> None:
        """Release the sender lock. May be repeated."""
        turn.to_send.clear()
        if turn not in self._senders:
            return
        if sum(turn.sent) < len(turn.request):
            # The turn keeps the lock until then: nothing may be sent in between.
            self._loop.call_soon_threadsafe(self._take_over, turn)
            return
        self._leave(self._senders, turn)
        if self._outbox:
            self._loop.call_soon_threadsafe(self._flush)

    def _leave_readers(self, turn: _Turn) -> None:
        """Release the reader lock. May be repeated."""
        turn.sizes.clear()
        if turn.inbox:
            with contextlib.suppress(IndexError):
                self._inbox.extend(iter(turn.inbox.pop, None))
        try:  # noqa: SIM105 - as in _leave
            self._poll.modify(self._sock, select.EPOLLIN)
        except (ValueError, OSError):
            pass  # closed meanwhile
        self._leave(self._readers, turn)
        if self._closed or self._inbox:
            self._loop.call_soon_threadsafe(self._drain)

    def _end(self, turn: _Turn, thread: int, interrupted: background_loop.Reading | None) -> None:
        try:
            self._leave_senders(turn)
            self._leave_readers(turn)
            if turn.stale is not None:
                turn.stale.close()
            if interrupted is None:
                background_loop.reading.pop(thread, None)
            else:
                background_loop.reading[thread] = interrupted
        except BaseException:
            self._end(turn, thread, interrupted)  # Ctrl-C in here; not before it is done
            raise

    def _revoke(self, turn: _Turn) -> None:
        """Take the locks from a turn of this thread, which a signal handler has interrupted."""
        if turn in self._readers and self._turn_sock is not None:
            # A turn that blocks in recv() calls it again after the handler. It must not receive
            # what belongs to the loop then, so its descriptor is made one of no socket.
            turn.stale, self._turn_sock = self._turn_sock, None
            with contextlib.suppress(ValueError, OSError):
                os.dup2(self._poll.fileno(), turn.stale.fileno(), inheritable=False)
        self._leave_senders(turn)
        self._leave_readers(turn)

    def close(self) -> None:
        """Stop reading and close the socket; ``on_lost`` is not called. Loop's thread only."""
        if not self._guard.is_here:
            return  # the connection, and the loop's epoll set with it, are the parent's
        if self._closed:
            return
        self._closed = True
        self._outbox.clear()
        self._drained.set()
        self._loop.remove_reader(self._poll.fileno())
        self._loop.remove_writer(self._sock)
        # Wakes a thread that reads.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._drain()

    def _close_files(self) -> None:
        for file in (self._poll, self._sock, self._turn_sock):
            if file is not None:
                file.close()
