# Generated from objects/export.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.export.AsyncExport`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal, Self

    from qemu_blocksdk.objects.export import AsyncExport
    from qemu_blocksdk.wire import BlockExportInfo, BlockExportType

    from .node import Node


class Export(SyncProxy):
    """An export of a node; leaving the block removes it, whoever is connected.

    Got from the verb that adds it, or from ``query_exports``. A verb that comes when it is
    gone raises StateError.
    """

    @property
    def _async(self) -> AsyncExport:
        return cast("AsyncExport", self._reach())

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
    def id(self) -> str:
        """The export's id in QEMU."""
        return self._async.id

    @property
    def kind(self) -> BlockExportType:
        """How it is exported: ``nbd``, ``fuse``, ..."""
        return self._async.kind

    @property
    def node(self) -> Node:
        """The node that is exported; QEMU refuses to delete it meanwhile."""
        background_loop.assert_running()
        from . import Node

        return Node._of(self._async.node)

    def query_info(self) -> BlockExportInfo:
        """Ask for the export as it is now (``query-block-exports``). Raises StateError."""
        return background_loop.run(self._async.query_info())

    def wait_deleted(self, *, timeout: float | None = None) -> None:
        """Wait until the export is gone, whoever removes it (``BLOCK_EXPORT_DELETED``).

        ``timeout`` is in seconds. Raises DeadlineExceeded, ConnectionLost.
        """
        return background_loop.run(self._async.wait_deleted(timeout=timeout))

    def delete(self, *, mode: Literal['safe', 'hard'] = "safe", timeout: float = 10.0) -> None:
        """Remove the export (``block-export-del``) and wait until it is gone.

        ``safe`` refuses, with a CommandError, while an NBD client is connected; ``hard``
        disconnects it. QEMU does not count clients of other kinds: they lose the export either
        way.
        Raises StateError when it is gone already, DeadlineExceeded after ``timeout`` seconds.
        """
        return background_loop.run(self._async.delete(mode=mode, timeout=timeout))
