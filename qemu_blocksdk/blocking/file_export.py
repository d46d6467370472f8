# Generated from objects/export.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.export.AsyncFileExport`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .export import Export

if TYPE_CHECKING:
    from pathlib import Path

    from qemu_blocksdk.objects.export import AsyncFileExport


class FileExport(Export):
    """An export that a client opens by a path: FUSE, vhost-user-blk or VDUSE.

    It is not there any more, either, when QEMU was killed and the block is left, or QEMU stopped.
    """

    @property
    def _async(self) -> AsyncFileExport:
        return cast("AsyncFileExport", self._reach())

    @property
    def path(self) -> Path:
        """The file over which FUSE is mounted, the vhost-user socket, or the VDUSE device."""
        return self._async.path
