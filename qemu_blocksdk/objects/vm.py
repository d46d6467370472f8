"""A virtual machine: qemu-system-*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.qmp import ServerKind

from .devices import Devices
from .emulator import monitor, query_accelerators
from .migratable import Migratable
from .qemu import AsyncQemu, Program
from .vm_snapshots import VmSnapshots

Accelerator = Literal["qtest", "tcg", "kvm"]


class AsyncVM(Devices, Migratable, VmSnapshots, AsyncQemu):
    """A ``qemu-system-*`` of one's own, without display and default devices."""

    _kind: ClassVar[ServerKind] = "system"

    def __init__(
        self,
        *,
        program: Program = "qemu-system-x86_64",
        args: Sequence[str] = (),
        machine: str | None = None,
        accelerator: Accelerator | None = None,
        launch_timeout: float = 30.0,
        command_timeout: float = 60.0,
    ) -> None:
        """Describe a virtual machine; nothing is started yet.

        ``machine`` is QEMU's ``-machine``. Without an ``accelerator``, ``qtest`` is used
        where the binary has it (no guest code runs then), else ``tcg``. The rest as
        :class:`AsyncQemu`.
        """
        super().__init__(
            program=program,
            args=args,
            launch_timeout=launch_timeout,
            command_timeout=command_timeout,
        )
        self._machine = machine
        self._accelerator: Accelerator | None = accelerator

    async def _arguments(self, monitor_fd: int) -> list[str]:
        machine = ["-machine", self._machine] if self._machine is not None else []
        return [
            *("-nodefaults", "-display", "none", "-vga", "none"),
            *monitor(monitor_fd),
            *machine,
            *("-accel", await self.query_accelerator()),
        ]

    async def query_accelerator(self) -> Accelerator:
        """Return the accelerator that a launch uses; the binary is asked what it has, once.

        Raises Unsupported when it lacks the one that was asked for, LaunchError.
        """
        available = await query_accelerators(self._program, timeout=self._launch_timeout)
        wanted = self._accelerator
        if wanted is None:
            return "qtest" if "qtest" in available else "tcg"
        if wanted not in available:
            raise Unsupported(f"accelerator {wanted!r}")
        return wanted
