# Generated from objects/export.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.export.AsyncUriExport`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .export import Export

if TYPE_CHECKING:
    from qemu_blocksdk.objects.export import AsyncUriExport
    from qemu_blocksdk.tools.nbd import NbdUri


class UriExport(Export):
    """An export for NBD clients, by the NBD server of its QEMU."""

    @property
    def _async(self) -> AsyncUriExport:
        return cast("AsyncUriExport", self._reach())

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export."""
        return self._async.uri

    def write(self, offset: int, length: int, *, pattern: int = 205) -> None:
        """Write ``length`` bytes of ``pattern`` (0 to 255) at ``offset``, as an NBD client.

        Runs ``qemu-io``; as :meth:`QemuIo.write`. Raises UsageError where that would
        need TLS credentials.
        """
        return background_loop.run(self._async.write(offset, length, pattern=pattern))
