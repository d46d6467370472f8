"""A QEMU by QMP names and dictionaries: the VM that scripts inherit from and drive.

What a script describes with ``add_*`` is kept as words; a launch makes of them a typed VM, whose
events are queued from then on. Jobs and logs are in ``vm``.
"""

from __future__ import annotations

import functools
import math
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import qemu_blocksdk as typed
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    LaunchError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.testing.queued import QueuedQmp, event_match

from .case import NotHere
from .environ import accelerator, qemu_opts, qemu_prog

Message = dict[str, Any]


class AbnormalShutdown(BlockSdkError):
    """QEMU did not end when it was asked to, and was killed."""


class QMPResponseError(BlockSdkError):
    """QEMU refused a command; what this says is QEMU's description, and no more."""


class Machine:
    """A QEMU: what it is to be told, its life, its QMP."""

    def __init__(self) -> None:
        self._args: list[str] = []
        self._machine: str | None = None
        self._console: typed.Console | None = None
        self._has_qmp = True
        self._launched = False
        self._vm: typed.VM | None = None
        self._process: typed.Process | None = None
        self._exit_status: int | None = None
        self._queue: QueuedQmp | None = None
        self._log: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    # -- what it is to be told ----------------------------------------------------------

    def add_args(self, *args: str) -> None:
        """Add words to the end of the command line."""
        self._args += args

    def set_machine(self, machine_type: str) -> None:
        """Set what ``-machine`` says."""
        self._machine = machine_type

    def set_console(self, device_type: str | None = None, console_index: int = 0) -> None:
        """Have a console on ``console_socket``: a device, or the machine's serial port."""
        self._console = typed.Console(device=device_type, index=console_index)

    def set_qmp_monitor(self, enabled: bool = True) -> None:
        """Have a QMP monitor, or none."""
        self._has_qmp = enabled

    def add_monitor_null(self) -> None:
        """Add a human monitor that nobody reads."""
        self.add_args("-monitor", "null")

    def add_fd(self, fd: int, fdset: int, opaque: str, opts: str = "") -> Self:
        """Have QEMU inherit a descriptor, as one of a set."""
        os.set_inheritable(fd, True)
        options = [f"fd={fd}", f"set={fdset}", f"opaque={opaque}", *filter(None, [opts])]
        self.add_args("-add-fd", ",".join(options))
        return self

    # -- life ---------------------------------------------------------------------------

    def launch(self) -> None:
        """Start it. Raises LaunchError, of which nothing but the log is left."""
        if self._launched:
            raise UsageError("VM already launched")
        self._log = self._vm = self._process = self._exit_status = None
        fds = _inheritable()
        if accelerator is not None:
            _tell(accelerator)
        if self._has_qmp:
            vm = self._vm = typed.VM(
                program=qemu_prog,
                machine=self._machine,
                defaults=True,
                accelerator=accelerator,
                console=self._console,
                args=[*qemu_opts, *self._args],
                pass_fds=fds,
                command_timeout=math.inf,
                qmp_id="mon",
            )
            try:
                vm.launch()
            except LaunchError as error:
                self._log, self._exit_status = error.output, error.exit_status
                raise
            self._process, self._queue = vm.process, QueuedQmp(vm.qmp)
        else:
            self._process = typed.Process.spawn(self._words_without_qmp(), pass_fds=fds)
        self._launched = True

    def _words_without_qmp(self) -> list[str]:
        machine = [] if self._machine is None else ["-machine", self._machine]
        return [
            *(qemu_prog, "-display", "none", "-vga", "none"),
            *(*machine, "-accel", accelerator or "tcg", *qemu_opts, *self._args),
        ]

    def shutdown(
        self, has_quit: bool = False, hard: bool = False, timeout: float | None = 30
    ) -> None:
        """End it: by ``quit``, unless that was sent or it is to be ``hard``, or else by force.

        Does nothing where it does not run. Raises AbnormalShutdown where it took force.
        """
        if not self._launched:
            return
        assert self._process is not None
        try:
            if not hard and self.is_running():
                self._end_softly(self._process, has_quit, timeout)
        except BlockSdkError as error:
            raise AbnormalShutdown("Could not perform graceful shutdown") from error
        finally:
            self._launched = False
            (self._vm or self._process).kill()
            self._log = self._process.output()

    def _end_softly(self, process: typed.Process, has_quit: bool, timeout: float | None) -> None:
        if self._vm is not None and not has_quit:
            with suppress(ConnectionLost):  # it may hang up instead of answering
                self._vm.qmp.execute_raw("quit", timeout=math.inf if timeout is None else timeout)
        process.wait(timeout=timeout)

    def kill(self) -> None:
        """End it by force."""
        self.shutdown(hard=True)

    def wait(self, timeout: float | None = 30) -> None:
        """Wait for its end, for which it has been asked."""
        self.shutdown(has_quit=True, timeout=timeout)

    def is_running(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.exit_status is None

    def exitcode(self) -> int | None:
        """Return its exit status, negative for a signal; None before its end."""
        return self._exit_status if self._process is None else self._process.exit_status

    def get_pid(self) -> int | None:
        """Return its process id, while it runs."""
        return self._process.pid if self._process is not None and self.is_running() else None

    def get_log(self) -> str | None:
        """Return what it printed, once it has been shut down."""
        return self._log

    @property
    def console_socket(self) -> socket.socket:
        """Our end of the console."""
        return self._running().console_socket

    # -- QMP ----------------------------------------------------------------------------

    def qmp(self, cmd: str, conv_keys: bool = True, **args: Any) -> Message:
        """Send a command; return the whole reply, ``{"return": ...}`` or ``{"error": ...}``."""
        return dict(self._events().qmp(cmd, conv_keys, **args))

    def command(self, cmd: str, conv_keys: bool = True, **args: Any) -> Any:
        """Send a command; return what it returns. Raises QMPResponseError."""
        try:
            return self._events().command(cmd, conv_keys, **args)
        except CommandError as error:
            raise QMPResponseError(error.desc) from error

    def send_fd_scm(self, fd: int | None = None, file_path: str | None = None) -> int:
        """Hand an open descriptor, or a file opened, to the monitor; return 0."""
        if (fd is None) == (file_path is None):
            raise UsageError("either a descriptor or a file's path is needed")
        if file_path is not None:
            with Path(file_path).open("rb") as file:
                return self.send_fd_scm(file.fileno())
        assert fd is not None
        self._running().qmp.send_fd(fd)
        return 0

    def qtest(self, cmd: str) -> str:
        """Send a line to the qtest channel; return the line that it answers.

        Raises NotHere where QEMU has no such accelerator.
        """
        try:
            words = ["OK", self._running().qtest(cmd)]
        except Unsupported as error:
            raise NotHere("qtest accelerator, whose channel and clock are needed") from error
        except CommandError as error:
            words = [error.error_class, error.desc]
        return " ".join(filter(None, words)) + "\n"

    def get_qmp_event(self, wait: bool | float = False) -> Any:
        """Return the first event that is there, or comes in the time; None for none."""
        return self._events().get_qmp_event(wait)

    def get_qmp_events(self, wait: bool | float = False) -> list[Any]:
        """Return all events that are there, or the first that comes in the time."""
        return list(self._events().get_qmp_events(wait))

    @staticmethod
    def event_match(event: Any, match: Any | None) -> bool:
        """Tell whether an event has all that ``match`` has; None matches anything."""
        return event_match(event, match)

    def event_wait(self, name: str, timeout: float = 60.0, match: Any = None) -> Any:
        """Return the first event of a name that matches; others stay for later."""
        return self._events().event_wait(name, timeout, match)

    def events_wait(self, events: Any, timeout: float = 60.0) -> Any:
        """Return the first event that one of ``(name, match)`` matches; others stay for later."""
        return self._events().events_wait(events, timeout)

    def _running(self) -> typed.VM:
        if self._vm is None or not self._launched:
            raise UsageError("the VM has not been launched, or has no QMP monitor")
        return self._vm

    def _events(self) -> QueuedQmp:
        self._running()
        assert self._queue is not None
        return self._queue


@functools.cache
def _tell(accelerator: str) -> None:
    # Not for those who launch nothing: it is long to load.
    from qemu_blocksdk.objects.emulator import accelerators

    accelerators.tell(qemu_prog, frozenset({accelerator}))


def _inheritable() -> list[int]:
    """The descriptors that a script has made for QEMU to inherit."""
    fds = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return [fd for fd in fds if fd > 2 and _is_inheritable(fd)]


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # the one that listed them
