# Generated from recipes/disk.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.recipes.disk.AsyncDisk`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.recipes.disk import AsyncDisk

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from qemu_blocksdk.tools import CreationOptions
    from qemu_blocksdk.tools.progress import ToolProgress

    from .block_layer import BlockLayer
    from .export_server import ExportServer
    from .image import Image
    from .node import Node
    from .operation import Operation


class Disk(SyncProxy):
    """A disk, by the node that its users are on: a guest's device, an export.

    Its verbs take turns: one that was cancelled may go on for as long as the reads take that
    QEMU has begun, and the next waits for that.
    """

    @property
    def _async(self) -> AsyncDisk:
        return cast("AsyncDisk", self._reach())

    def __init__(self, qemu: BlockLayer, node: Node) -> None:
        """Name a disk; QEMU is not asked."""
        self._hold(background_loop.call(lambda: AsyncDisk(qemu._async, node._async)))

    @property
    def node(self) -> Node:
        """The node that the users of the disk are on now."""
        background_loop.assert_running()
        from . import Node

        return Node._of(self._async.node)

    def move(
        self,
        target: Image,
        options: CreationOptions | None = None,
        *,
        replace: bool = False,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Mirror the disk into a new image, and switch its users over.

        The old node is removed; what backs it, if it was inside it, as well. The new image
        holds all content and has its name from the start, because QEMU keeps names; when
        this fails before the switch it is removed. The secret of an encrypted one stays in
        QEMU, under the new node's name. ``replace`` allows a file of that name to be
        replaced, which is given back on failure, and a block device to be overwritten. Raises
        JobFailed, CommandError, UsageError for an image that is there or
        in use, ConnectionLost.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.move(
                target._async,
                options,
                replace=replace,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_move(
        self,
        target: Image,
        options: CreationOptions | None = None,
        *,
        replace: bool = False,
    ) -> Operation[None]:
        """Start :meth:`move`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_move(target._async, options, replace=replace)
        )))

    def commit(
        self,
        base: Node | None = None,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write the active layer into its backing file, and switch over to that.

        With ``base``, into an image further down the chain. The layers above it are removed
        from QEMU; their images stay, and are of no more use.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.commit(
                None if base is None else base._async,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_commit(self, base: Node | None = None) -> Operation[None]:
        """Start :meth:`commit`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_commit(None if base is None else base._async)
        )))

    def flatten(
        self,
        *,
        server: ExportServer | None = None,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy what the backing files hold into the active layer, which then has none.

        Before it is cut off from them, what QEMU holds in memory of the layer is written, for
        a client of its NBD server: tell the ``server`` if there is one already.
        """
        return background_loop.run_with_progress(
            lambda report: self._async.flatten(
                server=None if server is None else server._async,
                on_progress=report,
                timeout=timeout,
            ),
            on_progress,
        )

    def start_flatten(self, *, server: ExportServer | None = None) -> Operation[None]:
        """Start :meth:`flatten`; return it in flight."""
        background_loop.assert_running()
        from . import Operation

        return cast("Operation[None]", Operation._of(background_loop.call(
            lambda: self._async.start_flatten(server=None if server is None else server._async)
        )))
