# Generated from objects/node_io.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.node_io.AsyncNodeIo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    import os

    from qemu_blocksdk.objects.node_io import AsyncNodeIo
    from qemu_blocksdk.tools.qemu_io import IoExtent, IoResult


class NodeIo(SyncProxy):
    """Requests to a node through the monitor, without a guest or an export.

    They go past what uses the node, under the same permissions. Offsets and lengths are in
    bytes. Raises ToolError with qemu-io's words, UsageError for what cannot be right,
    Unsupported for a storage daemon and for a VM that somebody else started.
    """

    @property
    def _async(self) -> AsyncNodeIo:
        return cast("AsyncNodeIo", self._reach())

    def read(
        self,
        offset: int,
        length: int,
        *,
        pattern: int | None = None,
        pattern_offset: int | None = None,
        pattern_length: int | None = None,
        vmstate: bool = False,
    ) -> IoResult:
        """Read, and tell whether every byte is the ``pattern`` (0 to 255).

        The pattern is looked for in ``pattern_length`` bytes from ``pattern_offset`` of what
        was read; ``vmstate`` reads the part of the image where a snapshot keeps the machine.
        """
        work = self._async.read(
            offset,
            length,
            pattern=pattern,
            pattern_offset=pattern_offset,
            pattern_length=pattern_length,
            vmstate=vmstate,
        )
        return background_loop.run(work)

    def read_data(self, offset: int, length: int, *, vmstate: bool = False) -> bytes:
        """Read, and return the bytes (``read -v``)."""
        return background_loop.run(self._async.read_data(offset, length, vmstate=vmstate))

    def assert_pattern(self, offset: int, length: int, *, pattern: int) -> None:
        """Read, and raise AssertionError when a byte is not the ``pattern``."""
        return background_loop.run(self._async.assert_pattern(offset, length, pattern=pattern))

    def readv(self, offset: int, *lengths: int, pattern: int | None = None) -> IoResult:
        """Read into a buffer of each length; the rest as :meth:`read`."""
        return background_loop.run(self._async.readv(offset, *lengths, pattern=pattern))

    def write(
        self,
        offset: int,
        length: int,
        *,
        pattern: int | None = None,
        source_file: str | os.PathLike[str] | None = None,
        fua: bool = False,
        compressed: bool = False,
        vmstate: bool = False,
    ) -> IoResult:
        """Write a ``pattern`` (0 to 255, by default 0xCD) or what a file has.

        A ``source_file`` that is shorter is repeated; its path cannot hold a space.
        ``fua`` has it written to disk at once; ``vmstate`` as for :meth:`read`.
        """
        work = self._async.write(
            offset,
            length,
            pattern=pattern,
            source_file=source_file,
            fua=fua,
            compressed=compressed,
            vmstate=vmstate,
        )
        return background_loop.run(work)

    def writev(
        self,
        offset: int,
        *lengths: int,
        pattern: int | None = None,
        fua: bool = False,
    ) -> IoResult:
        """Write from a buffer of each length; the rest as :meth:`write`."""
        return background_loop.run(self._async.writev(offset, *lengths, pattern=pattern, fua=fua))

    def write_zeroes(
        self,
        offset: int,
        length: int,
        *,
        unmap: bool = False,
        no_fallback: bool = False,
        fua: bool = False,
    ) -> IoResult:
        """Write zeroes without sending them (``write -z``).

        With ``unmap`` the space may be given back; with ``no_fallback`` it fails where it
        would not be faster than to write them.
        """
        work = self._async.write_zeroes(
            offset,
            length,
            unmap=unmap,
            no_fallback=no_fallback,
            fua=fua,
        )
        return background_loop.run(work)

    def discard(self, offset: int, length: int) -> IoResult:
        """Tell that the content is not needed any more; an image may ignore that."""
        return background_loop.run(self._async.discard(offset, length))

    def flush(self) -> None:
        """Have everything written to disk. qemu-io does not say when that fails."""
        return background_loop.run(self._async.flush())

    def map(self) -> tuple[IoExtent, ...]:
        """Return which parts the image itself has allocated, from its start to its end."""
        return background_loop.run(self._async.map())

    def alloc(self, offset: int, length: int = 512) -> int:
        """Return how many of the bytes the image itself has allocated; none are past its end."""
        return background_loop.run(self._async.alloc(offset, length))

    def length(self) -> int:
        """Return the length in bytes."""
        return background_loop.run(self._async.length())
