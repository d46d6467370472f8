"""A child process that cannot outlive this one, and what is known about its end.

The child is killed when this process dies, even by SIGKILL (:class:`ParentDeathSignal`). Output
goes to memory (a memfd), unless the caller takes it: nothing has to be read in time, nothing is
left behind, and a full disk does not hide why a program failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import weakref
from collections.abc import Generator, Mapping, Sequence
from typing import Self

from qemu_blocksdk.codec import masked, masked_args, secrets_in_args
from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, UsageError
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.terminal import escaped

from . import background_loop
from .deadline import within
from .parent_death import Barrier, ParentDeathSignal
from .sandbox import Sandbox

_TAIL = 4096
_BEFORE = 1 << 16
_LOG_LIMIT, _LOG_KEPT = 16 << 20, 1 << 20
"""Bytes of a server's log that are kept in memory at most, and of a longer one."""
_LOG_PACE = 10.0
_log = logging.getLogger(__name__)


@sealed_class
class AsyncProcess:
    """A running or ended child process; made by :meth:`spawn`.

    Killed by a signal that we did not send, a server is logged as a warning; a tool's end is
    its caller's to tell.
    """

    def __init__(
        self,
        argv: Sequence[str],
        popen: subprocess.Popen[bytes],
        log: int,
        parent_death: ParentDeathSignal,
        ends_itself: bool,
    ) -> None:
        self._argv = tuple(argv)
        self._popen = popen
        self._log = log
        self._parent_death = parent_death
        self._ends_itself = ends_itself
        self._dropped = 0
        self._ended = asyncio.Event()
        self._was_signalled = False
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._on_end)
        self._pace = self._loop.call_later(_LOG_PACE, self._shorten_log)
        self._guard = background_loop.process_guard
        self._last_resort = weakref.finalize(self, _kill, popen, self._guard, parent_death)
        # Not with the end of the process: what it said is asked for afterwards.
        weakref.finalize(self, os.close, log).atexit = False

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        listener: socket.socket | None = None,
        ends_itself: bool = False,
        under: Sequence[str] = (),
        sandbox: Sandbox | None = None,
    ) -> Self:
        """Start a program. stdin is empty unless given; stdout and stderr go to the log.

        Each may be an open descriptor instead, which stays the caller's to close, as does a
        ``listener``: a listening socket, handed over the way systemd does (``LISTEN_FDS``), to
        a program that keeps the log. What ``ends_itself``, at the latest with its stdin, is
        started faster and has a stdin if any. It may be run ``under`` another program, which
        becomes this one (``prlimit``). In a ``sandbox`` it opens no other files. Raises LaunchError
        when there is no such program, UsageError for a NUL character, SandboxUnavailable.
        """
        if any("\0" in word for word in argv):
            raise UsageError(f"an argument of {argv[0]!r} has a NUL character")
        if stdin is not None and not ends_itself:
            raise UsageError("only what ends by itself is given a stdin")
        for command in (under, argv) if under else ():
            located(command)
        words = [*under, *argv]
        if not ends_itself:
            words = [*under, located(argv), *argv[1:]]
            words = Barrier.before(words, has_listener=listener is not None)

        def start() -> subprocess.Popen[bytes]:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=log if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                pass_fds=(*pass_fds, parent_death.child_end),
                env=env,
                cwd=cwd,
                # Ctrl-C in the terminal is for us; we decide what becomes of the child.
                process_group=0,
                umask=-1 if ends_itself else _private_umask(),
            )
            on_failure.callback(_kill, child, background_loop.process_guard, parent_death)
            return child

        try:
            with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as in_any_case:
                # In memory: what explains a failure must not depend on a disk that is full.
                log = os.memfd_create("log", os.MFD_CLOEXEC)
                on_failure.callback(os.close, log)
                parent_death = ParentDeathSignal()
                on_failure.callback(parent_death.close)
                barrier = Barrier()
                in_any_case.callback(barrier.close)
                if not ends_itself:
                    stdin = barrier.child_end
                if listener is not None:
                    stdout = listener.fileno()
                # In a millisecond.
                child = start() if sandbox is None else sandbox.start(start)
                parent_death.arm(child.pid)
                barrier.lift()
                process = cls(argv, child, log, parent_death, ends_itself)
                on_failure.pop_all()
                return process
        except OSError as error:
            located(argv)
            shown = masked_args(argv)
            raise LaunchError(f"cannot start {argv[0]}: {error}", argv=shown) from error

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line, as it was asked for, less its secrets."""
        return masked_args(self._argv)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for the signal that killed it; None while it runs."""
        return self._popen.returncode

    def _on_end(self) -> None:
        if not self._ends_itself:
            # It may be a wrapper that did not become the program. Before its number is free.
            _signal_group(self._popen, signal.SIGKILL)
        self._popen.wait()  # at once; poll() knows nothing while another thread looks, too
        self._pace.cancel()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._parent_death.close()
        is_program_over = self._last_resort.detach() is None  # it had gone off
        self._ended.set()
        number = -self._popen.returncode
        if number > 0 and not (self._ends_itself or self._was_signalled or is_program_over):
            _log.warning("killed by signal %d: %s", number, escaped(shlex.join(self.argv)))

    @property
    def is_stopped(self) -> bool:
        """Whether the process is stopped by a signal (SIGSTOP) or a debugger."""
        with contextlib.suppress(OSError):
            stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
            return self.exit_status is None and stat.rpartition(") ")[2][:1] in "Tt"
        return False

    async def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the end, ``timeout`` seconds at most; return the exit status.

        Raises DeadlineExceeded.
        """
        self._guard.assert_here(self._argv[0])
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(f"{self._argv[0]} was started in another event loop")
        async with within(timeout, f"the end of {self._argv[0]}"):
            await self._ended.wait()
        status = self._popen.returncode
        assert status is not None
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs, to it and what it has started in its group."""
        self._guard.assert_here(self._argv[0])
        self._was_signalled = True
        if self.exit_status is None:
            _signal_group(self._popen, number)

    async def end(self, *, grace: float = 5.0) -> int:
        """Make it end: SIGTERM, ``grace`` seconds later SIGKILL. Returns the exit status."""
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(DeadlineExceeded):
            return await self.wait(timeout=grace)
        return await self.kill()

    async def kill(self) -> int:
        """End it with SIGKILL; return the exit status when it is gone.

        Only a process in uninterruptible sleep outlives that, and goes when it wakes.
        """
        self.send_signal(signal.SIGKILL)
        return await self.wait()

    def output(self, *, start: int = 0, length: int | None = None) -> str:
        """Return what went to the log so far, from byte ``start`` on, less secrets.

        At most ``length`` bytes of it.
        """
        # pread: the child writes at the offset that it shares with us.
        start = max(start, self._dropped)
        there = max(0, self.output_size() - start)
        data = os.pread(self._log, there if length is None else min(there, length), start)
        return masked(data.decode(errors="replace"), known=secrets_in_args(self._argv))

    def _shorten_log(self) -> None:
        """Give back the memory of what is old in a log that has become long."""
        size = self.output_size()
        if size - self._dropped > _LOG_LIMIT:
            import ctypes

            self._dropped = size - _LOG_KEPT
            hole = 0x03  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
            libc = ctypes.CDLL(None)
            libc.fallocate(self._log, hole, ctypes.c_int64(0), ctypes.c_int64(self._dropped))
        self._pace = self._loop.call_later(_LOG_PACE, self._shorten_log)

    def output_tail(self) -> str:
        """Return the last 4 KiB of the log, less secrets."""
        # One that begins before them shows only from its beginning on.
        return self.output(start=max(0, self.output_size() - _BEFORE - _TAIL))[-_TAIL:]

    def output_size(self) -> int:
        """Return how many bytes the log has."""
        return os.fstat(self._log).st_size


@contextlib.contextmanager
def launching(argv: Sequence[str]) -> Generator[None]:
    """Have what the system refuses on the way to a program, as descriptors, be a LaunchError."""
    try:
        yield
    except TimeoutError:
        raise  # an OSError as well
    except OSError as error:
        shown = masked_args(argv)
        raise LaunchError(f"cannot start {argv[0]}: {error}", argv=shown) from error


def located(argv: Sequence[str]) -> str:
    """Return the path of the program that a command line begins with. Raises LaunchError."""
    program = argv[0]
    path = shutil.which(program)
    if path is None:
        why = ""
        if "/" in program and os.access(program, os.F_OK):
            is_directory = pathlib.Path(program).is_dir()
            why = ": it is a directory" if is_directory else ": it is not executable"
        raise LaunchError(f"no program {program!r}{why}", argv=masked_args(argv))
    return path


def _kill(
    popen: subprocess.Popen[bytes],
    guard: background_loop.ProcessGuard,
    parent_death: ParentDeathSignal,
) -> None:
    if guard.is_here:
        if popen.returncode is None:
            _signal_group(popen, signal.SIGKILL)
        popen.wait()
        parent_death.close()


def _signal_group(popen: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # Each child leads a group of its own, and is not waited for yet, so the number is its.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, number)


def _private_umask() -> int:
    """Return a server's umask: ours, but nobody else may use the sockets that it makes.

    -1 stands for ours, where nobody else could write.
    """
    with contextlib.suppress(OSError):
        status = pathlib.Path("/proc/self/status").read_text()
        ours = int(status.partition("\nUmask:")[2].split()[0], 8)
        return -1 if ours & 0o022 == 0o022 else ours | 0o077
    return 0o077
