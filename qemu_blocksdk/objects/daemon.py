"""qemu-storage-daemon: QEMU's block layer without a guest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from qemu_blocksdk.qmp import ServerKind

from .qemu import AsyncQemu, Program


class AsyncStorageDaemon(AsyncQemu):
    """A ``qemu-storage-daemon`` of one's own."""

    _kind: ClassVar[ServerKind] = "storage-daemon"

    def __init__(
        self,
        *,
        program: Program = "qemu-storage-daemon",
        args: Sequence[str] = (),
        launch_timeout: float = 30.0,
        command_timeout: float = 60.0,
    ) -> None:
        """Describe a storage daemon; nothing is started yet. As :class:`AsyncQemu`."""
        super().__init__(
            program=program,
            args=args,
            launch_timeout=launch_timeout,
            command_timeout=command_timeout,
        )

    async def _arguments(self, monitor_fd: int) -> list[str]:
        chardev = f"socket,id=blocksdk-qmp,fd={monitor_fd}"
        return ["--chardev", chardev, "--monitor", "chardev=blocksdk-qmp"]
