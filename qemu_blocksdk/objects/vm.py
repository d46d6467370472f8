"""A virtual machine: qemu-system-*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from qemu_blocksdk.errors import Unsupported
from qemu_blocksdk.qmp import ServerKind
from qemu_blocksdk.wire import QomListTypes

from .qemu import AsyncQemu, Program, identity

Accelerator = Literal["qtest", "tcg", "kvm"]

_accelerators: dict[object, frozenset[str]] = {}
"""What a binary has, by its identity."""


class AsyncVM(AsyncQemu):
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
            *_monitor(monitor_fd),
            *machine,
            *("-accel", await self.query_accelerator()),
        ]

    async def query_accelerator(self) -> Accelerator:
        """Return the accelerator that a launch uses; the binary is asked what it has, once.

        Raises Unsupported when it lacks the one that was asked for, LaunchError.
        """
        available = await self._query_accelerators()
        wanted = self._accelerator
        if wanted is None:
            return "qtest" if "qtest" in available else "tcg"
        if wanted not in available:
            raise Unsupported(f"accelerator {wanted!r}")
        return wanted

    async def _query_accelerators(self) -> frozenset[str]:
        binary = identity(self._program)
        if binary not in _accelerators:
            # `-accel help` leaves qtest out, so a machine without anything is asked.
            bare = _BareVM(program=self._program, launch_timeout=self._launch_timeout)
            async with bare:
                types = await bare.qmp.execute(QomListTypes(implements="accel"))
            names = (kind.name.removesuffix("-accel") for kind in types)
            _accelerators[binary] = frozenset(names)
        return _accelerators[binary]


class _BareVM(AsyncQemu):
    """A QEMU that only answers questions."""

    _kind: ClassVar[ServerKind] = "system"

    async def _arguments(self, monitor_fd: int) -> list[str]:
        nothing = ["-machine", "none", "-nodefaults", "-display", "none"]
        return [*nothing, *_monitor(monitor_fd), "-S"]


def _monitor(fd: int) -> tuple[str, ...]:
    """Return the arguments that offer QMP on a descriptor."""
    chardev = f"socket,id=blocksdk-qmp,fd={fd}"
    return "-chardev", chardev, "-mon", "chardev=blocksdk-qmp,mode=control"
