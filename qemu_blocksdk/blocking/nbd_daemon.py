# Generated from objects/nbd_daemon.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.nbd_daemon.AsyncNbdDaemon`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qemu_blocksdk.objects.nbd_daemon import AsyncNbdDaemon
    from qemu_blocksdk.tools.nbd import NbdUri


class NbdDaemon(SyncProxy):
    """A ``qemu-nbd`` that outlives this process; made by :meth:`NbdServer.fork`.

    Used as a context manager, it ends with the block.
    """

    @property
    def _async(self) -> AsyncNbdDaemon:
        return cast("AsyncNbdDaemon", self._reach())

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
    def pid(self) -> int:
        """The process id."""
        return self._async.pid

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export."""
        return self._async.uri

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._async.is_running

    def wait(self, *, timeout: float | None = None) -> None:
        """Wait for the end; the exit status is told to nobody. Raises DeadlineExceeded."""
        return background_loop.run(self._async.wait(timeout=timeout))

    def stop(self, *, grace: float = 5.0) -> None:
        """End it: SIGTERM, ``grace`` seconds later SIGKILL. May be repeated.

        Clients are disconnected; SIGKILL loses what they have not flushed.
        """
        return background_loop.run(self._async.stop(grace=grace))
