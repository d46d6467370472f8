"""Disk images on disk, by path and format: what can be done while no QEMU has them open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from qemu_blocksdk import tools
from qemu_blocksdk.wire import File, Qcow2, Raw

ImageFormat = Literal["qcow2", "raw"]


class AsyncImage:
    """An image file. The format is always told, never guessed."""

    def __init__(self, path: str | os.PathLike[str], *, format: ImageFormat) -> None:
        """Name an image; whether it is there shows when it is used."""
        self._path = Path(path)
        self._format: ImageFormat = format

    @property
    def path(self) -> Path:
        """Where the image is."""
        return self._path

    @property
    def format(self) -> ImageFormat:
        """The image's format."""
        return self._format

    def options(self, node_name: str) -> Qcow2 | Raw:
        """Return the options by which QEMU opens the image as a node of that name."""
        file = File(filename=str(self._path))
        if self._format == "raw":
            return Raw(node_name=node_name, file=file)
        return Qcow2(node_name=node_name, file=file)

    async def create(self, size: int | None = None, *, backing: AsyncImage | None = None) -> None:
        """Create the image (``qemu-img create``), of ``size`` bytes or as large as ``backing``.

        Raises ToolError.
        """
        await tools.create(
            self._path,
            size,
            format=self._format,
            backing=None if backing is None else backing.path,
            backing_format=None if backing is None else backing.format,
        )

    async def convert(self, target: AsyncImage) -> None:
        """Copy the content, with that of the backing files, into a new image. Raises ToolError."""
        await tools.convert(
            self._path, target.path, source_format=self._format, target_format=target.format
        )

    async def is_equal(self, other: AsyncImage) -> bool:
        """Compare the content with another image's (``qemu-img compare``). Raises ToolError."""
        return await tools.compare(
            self._path, other.path, first_format=self._format, second_format=other.format
        )

    def __repr__(self) -> str:
        return f"<{self._format} image {str(self._path)!r}>"
