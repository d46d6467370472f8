"""A QEMU by QMP names and dictionaries: the machine that scripts inherit from and drive.

What a script describes with ``add_*`` is kept as arguments; a launch makes a typed VM of them, and
its events are queued from then on. Nothing here needs the environment of ``iotests``; jobs and
logs are in ``vm``.
"""

from __future__ import annotations

import math
import os
import socket
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import qemu_blocksdk as typed
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    LaunchError,
    UsageError,
)
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.testing.event_queue import QueuedQmp, event_match

Message = dict[str, Any]


class QEMUMachineError(BlockSdkError):
    """A machine was used in a way that it does not allow."""


class QEMUMachineAddDeviceError(QEMUMachineError):
    """A device could not be added."""


class AbnormalShutdown(QEMUMachineError):
    """QEMU did not end when it was asked to, and was killed."""


class QMPResponseError(BlockSdkError):
    """QEMU refused a command; the text is QEMU's description, and ``reply`` its whole reply."""

    def __init__(self, reply: Message) -> None:
        super().__init__(_description(reply))
        self.reply = reply


def _description(reply: Message) -> str:
    match reply:
        case {"error": {"desc": str(text)}}:
            return text
        case _:
            return str(reply)


_Choice = Literal["qtest", "tcg", "kvm", "default"] | None


@sealed_class
class QEMUMachine:
    """A QEMU: its command line, its life, its QMP."""

    _accelerator: _Choice = "default"
    """``default``: what the arguments or QEMU choose."""

    def __init__(
        self,
        binary: str,
        args: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        name: str | None = None,
        base_temp_dir: str = "/var/tmp",
        monitor_address: str | tuple[str, int] | None = None,
        socket_scm_helper: str | None = None,
        sock_dir: str | None = None,
        drain_console: bool = False,
        console_log: str | None = None,
        log_dir: str | None = None,
        qmp_timer: float | None = None,
        *,
        test_dir: str | None = None,
    ) -> None:
        """Describe a machine; nothing is started yet.

        ``wrapper`` is a command to run the binary with. ``test_dir`` is the older revision's
        name of ``base_temp_dir``. With ``drain_console`` or a ``console_log`` file the console is
        read all the time. ``qmp_timer`` is the time limit of a command in seconds. The monitor is a
        connection of our own: ``monitor_address``, ``socket_scm_helper`` and ``sock_dir`` are
        accepted and not needed.
        """
        self._binary = binary
        self._args: list[str] = list(args)
        self._wrapper = wrapper
        self._name = name or f"qemu-{os.getpid()}"
        self._base_temp_dir = test_dir or base_temp_dir
        self._log_dir = log_dir
        self._temp_dir: tempfile.TemporaryDirectory[str] | None = None
        self._qmp_timer = math.inf if qmp_timer is None else qmp_timer
        self._console_log = console_log
        self._drains_console = drain_console or console_log is not None
        self._drained: socket.socket | None = None
        self._machine: str | None = None
        self._console: typed.Console | None = None
        self._has_qmp = True
        self._launched = False
        self._vm: typed.VM | None = None
        self._process: typed.Process | None = None
        self._exit_status: int | None = None
        self._queue: QueuedQmp | None = None
        self._log: str | None = None

    @property
    def temp_dir(self) -> str:
        """A directory of its own for temporary files, made when it is first used."""
        if self._temp_dir is None:
            self._temp_dir = tempfile.TemporaryDirectory(
                prefix=f"{self._name}-", dir=self._base_temp_dir
            )
        return self._temp_dir.name

    @property
    def log_dir(self) -> str:
        """The directory for logs; by default :attr:`temp_dir`."""
        return self._log_dir or self.temp_dir

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
        """Let QEMU inherit a descriptor, as one of a set."""
        os.set_inheritable(fd, True)
        options = [f"fd={fd}", f"set={fdset}", f"opaque={opaque}", *filter(None, [opts])]
        self.add_args("-add-fd", ",".join(options))
        return self

    # -- life ---------------------------------------------------------------------------

    def launch(self) -> None:
        """Start it. Raises LaunchError; nothing but the log is left of it then."""
        if self._launched:
            raise UsageError("VM already launched")
        self._log = self._vm = self._process = self._exit_status = None
        fds = _inheritable()
        if self._has_qmp:
            vm = self._vm = typed.VM(
                program=[*self._wrapper, self._binary],
                machine=self._machine,
                defaults=True,
                accelerator=self._accelerator,
                qtest_log=True,
                console=self._console,
                args=self._args,
                pass_fds=fds,
                command_timeout=self._qmp_timer,
                qmp_id="mon",
            )
            try:
                vm.launch()
            except LaunchError as error:
                self._log, self._exit_status = error.output, error.exit_status
                raise
            self._process, self._queue = vm.process, QueuedQmp(vm.qmp)
        else:
            self._process = typed.Process.spawn(self._command_without_qmp(), pass_fds=fds)
        self._launched = True
        if self._drains_console and self._console is not None:
            self._drain_console()

    def _command_without_qmp(self) -> list[str]:
        machine = [] if self._machine is None else ["-machine", self._machine]
        accel = [] if self._accelerator == "default" else ["-accel", self._accelerator or "tcg"]
        return [
            *(*self._wrapper, self._binary, "-display", "none", "-vga", "none"),
            *(*machine, *accel, *self._args),
        ]

    def _drain_console(self) -> None:
        """Read the console all the time, into the log; a copy of it is there to be read."""
        console = self._running().console_socket
        self._drained, copy = socket.socketpair()
        copy.setblocking(False)
        log = Path(self._console_log or os.devnull).open("ab")  # noqa: SIM115 - the thread closes it

        def drain() -> None:
            with copy, log, suppress(OSError):
                _copy(console, copy, log)

        threading.Thread(target=drain, daemon=True).start()

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
            if self._drained is not None:
                self._drained.close()
                self._drained = None
            if self._temp_dir is not None:
                self._temp_dir.cleanup()
                self._temp_dir = None

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
        vm = self._running()
        return vm.console_socket if self._drained is None else self._drained

    # -- QMP ----------------------------------------------------------------------------

    def qmp(self, cmd: str, conv_keys: bool = True, **args: Any) -> Message:
        """Send a command; return the whole reply, ``{"return": ...}`` or ``{"error": ...}``."""
        return dict(self._events().qmp(cmd, conv_keys, **args))

    def command(self, cmd: str, conv_keys: bool = True, **args: Any) -> Any:
        """Send a command; return what it returns. Raises QMPResponseError."""
        try:
            return self._events().command(cmd, conv_keys, **args)
        except CommandError as error:
            reply = {"error": {"class": error.error_class, "desc": error.desc}}
            raise QMPResponseError(reply) from error

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


@sealed_class
class QEMUQtestMachine(QEMUMachine):
    """A QEMU that runs no guest code, with the channel of qtest, where the binary has it."""

    _accelerator: _Choice = None

    def __init__(
        self,
        binary: str,
        args: Sequence[str] | None = None,
        wrapper: Sequence[str] = (),
        name: str | None = None,
        base_temp_dir: str = "/var/tmp",
        socket_scm_helper: str | None = None,
        sock_dir: str | None = None,
        qmp_timer: float | None = None,
        *,
        test_dir: str | None = None,
    ) -> None:
        """Describe a machine, as :class:`QEMUMachine`."""
        super().__init__(
            binary,
            args or (),
            wrapper,
            name or f"qtest-{os.getpid()}",
            base_temp_dir,
            socket_scm_helper=socket_scm_helper,
            sock_dir=sock_dir,
            qmp_timer=qmp_timer,
            test_dir=test_dir,
        )

    def qtest(self, cmd: str) -> str:
        """Send a line to the qtest channel; return the line that it answers.

        Raises Unsupported where QEMU has no such accelerator.
        """
        try:
            reply = ["OK", self._running().qtest(cmd)]
        except CommandError as error:
            reply = [error.error_class, error.desc]
        return " ".join(filter(None, reply)) + "\n"


def _copy(console: socket.socket, copy: socket.socket, log: BinaryIO) -> None:
    """Copy what a console says, to its end."""
    while data := console.recv(1 << 16):
        log.write(data)
        log.flush()
        with suppress(BlockingIOError):  # nobody reads it
            copy.send(data)


def _inheritable() -> list[int]:
    """The descriptors that a script has made for QEMU to inherit."""
    fds = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return [fd for fd in fds if fd > 2 and _is_inheritable(fd)]


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # the one that listed them
