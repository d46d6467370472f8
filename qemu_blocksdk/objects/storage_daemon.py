"""qemu-storage-daemon: QEMU's block layer without a guest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Unpack

from qemu_blocksdk.qmp import ServerKind
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools.qemu_args import Program, json_args

from .process import Handover, QemuOptions
from .qemu import AsyncQemu

if TYPE_CHECKING:
    from qemu_blocksdk.wire import BlockExportOptions, NbdServerStart


@sealed_class
class AsyncStorageDaemon(AsyncQemu):
    """A ``qemu-storage-daemon``."""

    _kind: ClassVar[ServerKind] = "storage-daemon"

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
        :class:`AsyncQemu`.
        """
        super().__init__(program=program, **options)
        self._nbd_server = nbd_server
        self._exports = tuple(exports)

    async def _arguments(self, given: Handover) -> list[str]:
        return [
            *given.qmp_args(),
            *await self._common_arguments(given),
            *(() if self._nbd_server is None else await given.nbd_args(self._nbd_server)),
            *json_args("--export", self._exports),
        ]
