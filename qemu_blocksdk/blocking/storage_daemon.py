# Generated from objects/storage_daemon.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.storage_daemon.AsyncStorageDaemon`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.storage_daemon import AsyncStorageDaemon
from qemu_blocksdk.qmp import background_loop

from .qemu import Qemu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self, Unpack

    from qemu.qmp import QMPClient

    from qemu_blocksdk.objects.process import QemuOptions
    from qemu_blocksdk.qmp.address import Address
    from qemu_blocksdk.qmp.messages import OnMessage
    from qemu_blocksdk.tools.qemu_args import Program
    from qemu_blocksdk.wire import BlockExportOptions, NbdServerStart


class StorageDaemon(Qemu):
    """A ``qemu-storage-daemon``."""

    @property
    def _async(self) -> AsyncStorageDaemon:
        return cast("AsyncStorageDaemon", self._reach())

    def __init__(
        self,
        *,
        program: Program = "qemu-storage-daemon",
        nbd_server: NbdServerStart | None = None,
        exports: Sequence[BlockExportOptions] = (),
        **options: Unpack[QemuOptions],
    ) -> None:
        """Describe a storage daemon; nothing is started yet.

        It begins with the ``exports``, those over NBD through the ``nbd_server``. The rest as
        :class:`Qemu`.
        """
        self._hold(background_loop.call(
            lambda: AsyncStorageDaemon(
                program=program,
                nbd_server=nbd_server,
                exports=exports,
                **options,
            )
        ))

    @classmethod
    def attach(
        cls,
        address: Address | QMPClient,
        *,
        timeout: float = 10.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Connect to a running QEMU by one of its QMP monitors, within ``timeout`` seconds.

        Leaving the block only disconnects. The async classes also take a connected
        ``qemu.qmp.QMPClient``: it stays connected, and its owner can go on using it. Raises
        ConnectionLost when nothing listens at the address; DeadlineExceeded when nothing answers,
        for example because another client holds the monitor; UsageError for a client that is not
        connected or that belongs to another event loop.
        """
        work = AsyncStorageDaemon.attach(
            address,
            timeout=timeout,
            command_timeout=command_timeout,
            on_message=on_message,
        )
        return cls._of(background_loop.run(work))
