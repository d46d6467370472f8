# Generated from qmp/process.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.qmp.process.AsyncProcess`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.qmp.process import AsyncProcess

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    import signal
    import socket
    from collections.abc import Mapping, Sequence
    from typing import Self

    from qemu_blocksdk.qmp.sandbox import Sandbox


class Process(SyncProxy):
    """A running or ended child process; made by :meth:`spawn`.

    A server that is killed by a signal that we did not send is logged as a warning; the caller of
    a tool (``ends_itself``) reports its end.
    """

    @property
    def _async(self) -> AsyncProcess:
        return cast("AsyncProcess", self._reach())

    @classmethod
    def spawn(
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
        work = AsyncProcess.spawn(
            argv,
            pass_fds=pass_fds,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            listener=listener,
            ends_itself=ends_itself,
            under=under,
            sandbox=sandbox,
        )
        return cls._of(background_loop.run(work))

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line as given, with its secrets masked."""
        return self._async.argv

    @property
    def pid(self) -> int:
        """The process id."""
        return self._async.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for the signal that killed it; None while it runs."""
        return self._async.exit_status

    @property
    def is_stopped(self) -> bool:
        """Whether the process is stopped by a signal (SIGSTOP) or a debugger."""
        return self._async.is_stopped

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the end, ``timeout`` seconds at most; return the exit status.

        Raises DeadlineExceeded.
        """
        return background_loop.run(self._async.wait(timeout=timeout))

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs, to it and what it has started in its group."""
        return background_loop.call(lambda: self._async.send_signal(number))

    def end(self, *, grace: float = 5.0) -> int:
        """Send SIGTERM, and SIGKILL after ``grace`` seconds; return the exit status."""
        return background_loop.run(self._async.end(grace=grace))

    def kill(self) -> int:
        """Send SIGKILL, wait for the end and return the exit status.

        A process in uninterruptible sleep ends only when it wakes.
        """
        return background_loop.run(self._async.kill())

    def output(self, *, start: int = 0, length: int | None = None) -> str:
        """Return the log from byte ``start`` on, at most ``length`` bytes, with secrets masked."""
        return background_loop.call(lambda: self._async.output(start=start, length=length))

    def output_tail(self) -> str:
        """Return the last 4 KiB of the log, with secrets masked."""
        return background_loop.call(lambda: self._async.output_tail())

    def output_size(self) -> int:
        """Return the length of the log in bytes."""
        return background_loop.call(lambda: self._async.output_size())
