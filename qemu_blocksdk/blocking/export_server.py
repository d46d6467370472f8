# Generated from objects/export_server.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.export_server.AsyncExportServer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from qemu_blocksdk.objects.export import ExportOptions
    from qemu_blocksdk.objects.export_server import AsyncExportServer
    from qemu_blocksdk.wire import BlockDirtyBitmapOrStr

    from .bitmap import Bitmap
    from .node import Node
    from .uri_export import UriExport


class ExportServer(SyncProxy):
    """The NBD server of one QEMU; leaving the block stops it.

    A verb that comes when it has been stopped raises StateError.
    """

    @property
    def _async(self) -> AsyncExportServer:
        return cast("AsyncExportServer", self._reach())

    def __enter__(self) -> Self:
        background_loop.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
        except KeyboardInterrupt:
            if self._guard.is_here:
                background_loop.run(self._async.__aexit__(kind, error, trace))
            raise

    @property
    def address(self) -> str | tuple[str, int]:
        """Where the server listens: a unix socket's path, or a TCP host and port."""
        return self._async.address

    def export(
        self,
        node: Node,
        *,
        name: str | None = None,
        description: str | None = None,
        bitmaps: Sequence[Bitmap | BlockDirtyBitmapOrStr] = (),
        allocation_depth: bool | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> UriExport:
        """Export a node (``block-export-add``) under ``name``, by default the node's.

        Clients see the ``bitmaps`` as meta contexts ``qemu:dirty-bitmap:NAME``, and with
        ``allocation_depth`` the context ``qemu:allocation-depth``; a bitmap that is a name is
        looked for in the node and its backing chain. Without an ``id`` QEMU gets a new one. The
        rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises CommandError for a name
        or id that is taken, for a bitmap that is missing or busy, and for one, given as a name,
        that records while the export is not ``writable`` and the node is.
        """
        background_loop.assert_running()
        from . import Bitmap, UriExport

        work = self._async.export(
            node._async,
            name=name,
            description=description,
            bitmaps=[item._async if isinstance(item, Bitmap) else item for item in bitmaps],
            allocation_depth=allocation_depth,
            id=id,
            **options,
        )
        return UriExport._of(background_loop.run(work))

    def stop(self, *, timeout: float = 10.0) -> None:
        """Stop the server and end its connections and exports (``nbd-server-stop``).

        ``timeout`` is in seconds. Raises StateError when that was done, CommandError when
        somebody else has done it, DeadlineExceeded.
        """
        return background_loop.run(self._async.stop(timeout=timeout))
