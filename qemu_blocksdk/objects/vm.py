"""A virtual machine: qemu-system-*."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Unpack

from qemu_blocksdk.blockdev.drive import Drive
from qemu_blocksdk.errors import Unsupported, UsageError
from qemu_blocksdk.qmp import ServerKind
from qemu_blocksdk.sealed import sealed_class

from .devices import Devices
from .emulator import monitor_objects, query_accelerators
from .launch import (
    Console,
    Handover,
    InheritedFd,
    Program,
    QemuOptions,
    drive_words,
    json_words,
    plain_words,
)
from .migratable import Migratable
from .monitor import Monitor
from .qtest import Qtest
from .vm_snapshots import VmSnapshots

if TYPE_CHECKING:
    from qemu_blocksdk.wire import DeviceAdd

Accelerator = Literal["qtest", "tcg", "kvm"]


@sealed_class
class AsyncVM(Devices, Migratable, VmSnapshots, Monitor):
    """A ``qemu-system-*``, without display, and without default devices unless asked for."""

    _kind: ClassVar[ServerKind] = "system"

    def __init__(
        self,
        *,
        program: Program = "qemu-system-x86_64",
        machine: str | None = None,
        defaults: bool = False,
        accelerator: Accelerator | Literal["default"] | None = None,
        console: Console | None = None,
        fds: Sequence[InheritedFd] = (),
        drives: Sequence[Drive] = (),
        devices: Sequence[DeviceAdd] = (),
        incoming: str | None = None,
        qtest_log: bool = False,
        **options: Unpack[QemuOptions],
    ) -> None:
        """Describe a virtual machine; nothing is started yet.

        ``machine`` and ``incoming`` are QEMU's ``-machine`` and ``-incoming``; ``defaults``
        leaves the machine its default devices (no ``-nodefaults``). Without an
        ``accelerator``, ``qtest`` is used where the binary has it (no guest code runs then, and
        the clock stands still, that of throttle groups as well), else ``tcg``; ``default``
        leaves the choice to QEMU and to ``args``. ``qtest_log`` has QEMU log the qtest channel
        to its stderr, as it does by default. The rest as :class:`AsyncQemu`.
        """
        super().__init__(program=program, **options)
        self._machine, self._has_defaults = machine, defaults
        self._accelerator: Accelerator | Literal["default"] | None = accelerator
        self._has_qtest_log = qtest_log
        self._console = console
        self._fds, self._drives, self._devices = tuple(fds), tuple(drives), tuple(devices)
        self._incoming = incoming
        self._console_socket: socket.socket | None = None
        self._qtest: Qtest | None = None

    async def _arguments(self, given: Handover) -> list[str]:
        accelerator = await self._accelerator_words(given)
        given.has_monitor_object = bool(monitor_objects.known(self._program))
        return [
            *(() if self._has_defaults else ("-nodefaults",)),
            *("-display", "none", "-vga", "none"),
            *given.qmp_words(),
            *(() if self._machine is None else ("-machine", self._machine)),
            *self._console_words(given),
            *accelerator,
            *self._fd_words(given),
            *await self._common_words(given),
            *drive_words(self._drives),
            *json_words("-device", self._devices),
            *(() if self._incoming is None else ("-incoming", self._incoming)),
        ]

    def _console_words(self, given: Handover) -> list[str]:
        if self._console is None:
            return []
        ours, fd = given.channel()
        self._console_socket = given.ours.enter_context(ours)
        return self._console.words(fd)

    async def _accelerator_words(self, given: Handover) -> list[str]:
        self._qtest = None
        if self._accelerator == "default":
            return []
        accelerator = await self.query_accelerator()
        words = ["-accel", accelerator]
        if accelerator == "qtest":
            ours, fd = given.channel()
            self._qtest = Qtest(given.ours.enter_context(ours))
            # QEMU 7.2: aborts where the character device has another id, so it is "qtest".
            words += ["-chardev", f"socket,id=qtest,fd={fd}"]
            words += ["-qtest", "chardev:qtest"]
            if not self._has_qtest_log:
                words += ["-qtest-log", "none"]
        return words

    def _fd_words(self, given: Handover) -> list[str]:
        given.fds += [inherited.fd for inherited in self._fds]
        return plain_words("-add-fd", self._fds)

    async def query_accelerator(self) -> Accelerator:
        """Return the accelerator that a launch uses; the binary is asked what it has, once.

        Raises Unsupported when it lacks the one that was asked for, LaunchError, UsageError
        where the VM is attached to, and where the choice is QEMU's (``default``).
        """
        self._assert_ours("tell its accelerator")
        if self._accelerator == "default":
            raise UsageError(f"{self._program} was described to choose its accelerator itself")
        available = await query_accelerators(self._program, timeout=self._launch_timeout)
        wanted = self._accelerator
        if wanted is None:
            return "qtest" if "qtest" in available else "tcg"
        if wanted not in available:
            raise Unsupported(f"accelerator {wanted!r}")
        return wanted

    @property
    def console_socket(self) -> socket.socket:
        """Our end of the guest's console, a blocking socket, until the VM is stopped.

        Raises UsageError before the launch, and where the VM was described without one.
        """
        self._assert_ours("reach its console")
        if self._console is None:
            raise UsageError(f"{self._program} was described without a console")
        if self._console_socket is None:
            raise self._not_launched()
        return self._console_socket

    async def qtest(self, command: str, *, timeout: float = 10.0) -> str:
        """Send a line to the qtest channel; return what follows ``OK`` in its reply.

        Raises CommandError when it is refused, Unsupported where the VM runs on another
        accelerator, UsageError before the launch, ConnectionLost, DeadlineExceeded.
        """
        self._assert_ours("reach its qtest channel")
        if self._process is None:
            raise self._not_launched()
        if self._qtest is None:
            raise Unsupported("qtest channel: it runs on another accelerator than qtest")
        return await self._qtest.ask(command, timeout=timeout)

    async def clock_step(self, nanoseconds: int | None = None) -> int:
        """Advance the guest's clock (``clock_step``), to its next timer by default.

        Returns the time of the clock in nanoseconds. Raises as :meth:`qtest`.
        """
        step = "" if nanoseconds is None else f" {nanoseconds}"
        return int(await self.qtest(f"clock_step{step}"))
