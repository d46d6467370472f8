"""Child processes that cannot outlive this one, with their output and exit status.

The child is killed when this process dies, even by SIGKILL (:class:`ParentDeathSignal`). Its output
goes to memory (a memfd), unless the caller passes descriptors: the child never blocks on a full
pipe, no file remains, and a full disk does not hide why a program failed.
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
"""Bytes of a log above which it is shortened, and bytes that are kept of it then."""
_LOG_PACE = 10.0
_log = logging.getLogger(__name__)


@sealed_class
class AsyncProcess:
    """A running or ended child process; made by :meth:`spawn`.

    A server that is killed by a signal that we did not send is logged as a warning; the caller of
    a tool (``ends_itself``) reports its end.
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
        # The log outlives the process: its output is read afterwards.
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
        """Start a program. By default stdin is empty, and stdout and stderr go to the log.

        ``stdin``, ``stdout`` and ``stderr`` are open descriptors; the caller closes them. So it
        does ``listener``, a listening socket that is passed as systemd does (``LISTEN_FDS``).
        ``ends_itself``: the program ends by itself, at the latest at the end of its stdin; it
        starts faster, and only such a program takes a ``stdin``. ``under`` is the command line of
        a program that executes this one (``prlimit``). In a ``sandbox`` it can open no other files.

        Raises LaunchError where there is no such program, UsageError for a NUL character in an
        argument, SandboxUnavailable.
        """
        if any("\0" in word for word in argv):
            raise UsageError(f"an argument of {argv[0]!r} has a NUL character")
        if stdin is not None and not ends_itself:
            raise UsageError("only a program that ends by itself takes a stdin")
        for command in (under, argv) if under else ():
            find_program(command)
        words = [*under, *argv]
        if not ends_itself:
            words = [*under, find_program(argv), *argv[1:]]
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
                # Ctrl-C in the terminal must reach this process only.
                process_group=0,
                umask=-1 if ends_itself else _private_umask(),
            )
            on_failure.callback(_kill, child, background_loop.process_guard, parent_death)
            return child

        try:
            with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as in_any_case:
                # In memory, because a full disk must not hide the reason of a failure.
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
                # Takes about a millisecond.
                child = start() if sandbox is None else sandbox.start(start)
                parent_death.arm(child.pid)
                barrier.lift()
                process = cls(argv, child, log, parent_death, ends_itself)
                on_failure.pop_all()
                return process
        except OSError as error:
            find_program(argv)
            shown = masked_args(argv)
            raise LaunchError(f"cannot start {argv[0]}: {error}", argv=shown) from error

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line as given, with its secrets masked."""
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
            # The child may be a wrapper that did not exec; kill its group while the id is ours.
            _signal_group(self._popen, signal.SIGKILL)
        self._popen.wait()  # returns at once; poll() fails while another thread polls, too
        self._pace.cancel()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._parent_death.close()
        is_program_over = self._last_resort.detach() is None  # it has run
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
        """Send SIGTERM, and SIGKILL after ``grace`` seconds; return the exit status."""
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(DeadlineExceeded):
            return await self.wait(timeout=grace)
        return await self.kill()

    async def kill(self) -> int:
        """Send SIGKILL, wait for the end and return the exit status.

        A process in uninterruptible sleep ends only when it wakes.
        """
        self.send_signal(signal.SIGKILL)
        return await self.wait()

    def output(self, *, start: int = 0, length: int | None = None) -> str:
        """Return the log from byte ``start`` on, at most ``length`` bytes, with secrets masked."""
        # pread: the child writes at the offset that it shares with us.
        start = max(start, self._dropped)
        there = max(0, self.output_size() - start)
        data = os.pread(self._log, there if length is None else min(there, length), start)
        return masked(data.decode(errors="replace"), known=secrets_in_args(self._argv))

    def _shorten_log(self) -> None:
        """Free the memory of the older part of a long log."""
        size = self.output_size()
        if size - self._dropped > _LOG_LIMIT:
            import ctypes

            self._dropped = size - _LOG_KEPT
            hole = 0x03  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
            libc = ctypes.CDLL(None)
            libc.fallocate(self._log, hole, ctypes.c_int64(0), ctypes.c_int64(self._dropped))
        self._pace = self._loop.call_later(_LOG_PACE, self._shorten_log)

    def output_tail(self) -> str:
        """Return the last 4 KiB of the log, with secrets masked."""
        # A secret that begins before the last 4 KiB is only recognized from its beginning.
        return self.output(start=max(0, self.output_size() - _BEFORE - _TAIL))[-_TAIL:]

    def output_size(self) -> int:
        """Return the length of the log in bytes."""
        return os.fstat(self._log).st_size


@contextlib.contextmanager
def launch_errors(argv: Sequence[str]) -> Generator[None]:
    """Turn an OSError of the block, as for lack of descriptors, into a LaunchError."""
    try:
        yield
    except TimeoutError:
        raise  # an OSError as well
    except OSError as error:
        shown = masked_args(argv)
        raise LaunchError(f"cannot start {argv[0]}: {error}", argv=shown) from error


def find_program(argv: Sequence[str]) -> str:
    """Return the path of the program of a command line. Raises LaunchError where there is none."""
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
    # The child leads its process group and has not been reaped, so the id is still its own.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, number)


def _private_umask() -> int:
    """Return a umask for servers with which only their user may connect to their sockets.

    -1 keeps the umask of this process, where that forbids others to write already.
    """
    with contextlib.suppress(OSError):
        status = pathlib.Path("/proc/self/status").read_text()
        ours = int(status.partition("\nUmask:")[2].split()[0], 8)
        return -1 if ours & 0o022 == 0o022 else ours | 0o077
    return 0o077
