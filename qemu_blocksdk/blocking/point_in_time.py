# Generated from recipes/point_in_time.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.recipes.point_in_time.AsyncPointInTime`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.recipes.point_in_time import AsyncPointInTime

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.tools.nbd import NbdUri

    from .block_layer import BlockLayer
    from .export_server import ExportServer
    from .node import Node


class PointInTime(SyncProxy):
    """The content of a node at the moment that the block is entered; gone with the block.

    What is overwritten meanwhile is kept in a scratch image (``copy-before-write``), through
    which the reader sees what was (``snapshot-access``). The scratch image of an encrypted
    node is encrypted, with a key that nobody keeps. Everybody who writes has to do so
    through :attr:`front`: a guest's ``device`` is moved there and back, an export has to
    be of it. QEMU refuses to begin while somebody else writes to the node.
    """

    @property
    def _async(self) -> AsyncPointInTime:
        return cast("AsyncPointInTime", self._reach())

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

    def __init__(
        self,
        qemu: BlockLayer,
        node: Node,
        *,
        device: str | None = None,
        server: ExportServer | None = None,
        scratch_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Describe it; nothing has been done yet.

        ``device`` is the id or QOM path of the guest's device on the node. Without a
        ``server`` that runs already, one is started on a unix socket. ``scratch_folder`` has
        to have room for what is overwritten; by default the one for temporary files. When it
        has none, the reader gets errors, the writers do not.
        """
        self._hold(background_loop.call(
            lambda: AsyncPointInTime(
                qemu._async,
                node._async,
                device=device,
                server=None if server is None else server._async,
                scratch_folder=scratch_folder,
            )
        ))

    @property
    def front(self) -> Node:
        """The node to write to. Raises UsageError outside the block."""
        background_loop.assert_running()
        from . import Node

        return Node._of(self._async.front)

    @property
    def uri(self) -> NbdUri:
        """Where the content is read. Raises UsageError outside the block."""
        return self._async.uri
