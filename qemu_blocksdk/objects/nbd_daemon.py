"""A qemu-nbd that is nobody's child: ``--fork``.

Until it has written its process id, it is known by the name of the file that it is to
write that to; from then on by a descriptor of the process, so that no other is meant.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import signal
import socket
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import DeadlineExceeded, UsageError
from qemu_blocksdk.qmp import background_loop, shielded
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.listening_socket import inode
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.run import run
from qemu_blocksdk.tools.socket_directory import SocketDirectory


@sealed_class
class AsyncNbdDaemon(AsyncResource):
    """A ``qemu-nbd`` that outlives this process; made by :meth:`AsyncNbdServer.fork`.

    Used as a context manager, it ends with the block.
    """

    def __init__(self, pid: int, pidfd: int, uri: NbdUri) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._uri = uri
        self._socket = inode(uri.address)
        self._guard = background_loop.process_guard
        self._close = weakref.finalize(self, os.close, pidfd)

    @classmethod
    async def _start(
        cls,
        program: Sequence[str],
        words: Sequence[str],
        *,
        secrets: Mapping[str, Secret],
        uri: NbdUri,
    ) -> AsyncNbdDaemon:
        _assert_free(uri)
        scratch = SocketDirectory()
        pid_file = scratch.path / "pid"
        command = [*program, "--fork", "--pid-file", str(pid_file)]
        try:
            done = await run(command, words, secrets=secrets, accept=(0, 1))
            # QEMU 7.2: where the server says a word as it begins (a repair), its parent exits
            # with 1 and it runs, so the file decides.
            if not pid_file.exists():
                raise done.failure()
            pid = int(pid_file.read_text())
            try:
                return cls(pid, os.pidfd_open(pid), uri)
            except ProcessLookupError as error:
                raise done.failure("ended at once") from error
        except BaseException:
            _kill_all(str(pid_file))
            _remove_unserved(uri)
            raise
        finally:
            scratch.remove()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._pid

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export."""
        return self._uri

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        if not self._close.alive:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    async def wait(self, *, timeout: float | None = None) -> None:
        """Wait for the end; the exit status is told to nobody. Raises DeadlineExceeded."""
        if self.is_running:
            async with within(timeout, f"the end of qemu-nbd (pid {self._pid})"):
                await self._end()
        self._close()

    async def _end(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        pidfd = os.dup(self._pidfd)  # a loop has one reader of a descriptor
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)

    async def stop(self, *, grace: float = 5.0) -> None:
        """End it: SIGTERM, ``grace`` seconds later SIGKILL. May be repeated.

        Clients are disconnected; SIGKILL loses what they have not flushed.
        """
        await shielded(self._stop(grace))

    async def _stop(self, grace: float) -> None:
        self._send_signal(signal.SIGTERM)
        try:
            await self.wait(timeout=grace)
        except DeadlineExceeded:
            self._send_signal(signal.SIGKILL)
            await self.wait()
            if self._socket == inode(self._uri.address):
                _remove(self._uri)

    def _send_signal(self, number: signal.Signals) -> None:
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def _leave(self, error: BaseException | None) -> None:
        if self._guard.is_here:
            await self.stop()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "ended"
        return f"<{type(self).__name__} {self._uri}: pid {self._pid}, {state}>"


def _assert_free(uri: NbdUri) -> None:
    if isinstance(uri.address, str) and os.path.lexists(uri.address):
        raise UsageError(f"{uri.address!r} is there already: qemu-nbd would replace it")


def _remove(uri: NbdUri) -> None:
    if isinstance(uri.address, str):
        Path(uri.address).unlink(missing_ok=True)


def _remove_unserved(uri: NbdUri) -> None:
    """Remove the socket of a server that has been killed; what somebody else put there stays."""
    if isinstance(uri.address, str):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            if (
                Path(uri.address).is_socket()
                and client.connect_ex(uri.address) == errno.ECONNREFUSED
            ):
                _remove(uri)


def _kill_all(word: str) -> None:
    """Kill every process that has the word on its command line, as a fork of one has."""
    empty, killed = 0, list[int]()
    # A process that forks and ends while we look shows neither itself nor its child. qemu-nbd
    # becomes a daemon by two forks, so it cannot pass three looks in a row that way.
    while empty < 3:
        pids = list(_with_word(word.encode()))
        empty = 0 if pids else empty + 1
        for pid in pids:
            with contextlib.suppress(OSError):
                killed.append(os.pidfd_open(pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    # A process that ends lets go of its command line before it lets go of its socket.
    for pidfd in killed:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(1000)
        os.close(pidfd)


def _with_word(word: bytes) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if word in (entry / "cmdline").read_bytes().split(b"\0"):
                    yield int(entry.name)
