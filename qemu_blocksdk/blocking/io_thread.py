# Generated from objects/iothread.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.iothread.AsyncIoThread`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.objects.iothread import AsyncIoThread, IoThreadParameters
    from qemu_blocksdk.wire import IOThreadInfo


class IoThread(SyncProxy):
    """An I/O thread, which devices and exports name and nodes are moved into.

    Got from ``qemu.add_iothread()`` or ``qemu.iothread()``; leaving the block removes it. A
    verb that comes when it was removed raises StateError.
    """

    @property
    def _async(self) -> AsyncIoThread:
        return cast("AsyncIoThread", self._reach())

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
        """The id in QEMU."""
        return self._async.id

    def remove(self) -> None:
        """Remove it (``object-del``). Raises CommandError when it is in use or not there."""
        return background_loop.run(self._async.remove())

    def query_info(self) -> IOThreadInfo:
        """Return what QEMU knows of it, as its thread's id (``query-iothreads``).

        Raises GraphError when it is not there, Unsupported in a storage daemon.
        """
        return background_loop.run(self._async.query_info())

    def query_parameters(self) -> IoThreadParameters:
        """Return the parameters (``qom-get``). Raises CommandError when it is not there."""
        return background_loop.run(self._async.query_parameters())

    def set_parameters(self, parameters: IoThreadParameters) -> None:
        """Change parameters (``qom-set``), one after the other; those that are absent stay.

        Raises CommandError for a value out of range; those before it are set then.
        """
        return background_loop.run(self._async.set_parameters(parameters))
