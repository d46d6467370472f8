# Generated from objects/nbd_server.py by `make generate`. Do not edit.
"""The blocking face of :class:`qemu_blocksdk.objects.nbd_server.AsyncNbdServer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qemu_blocksdk.objects.nbd_server import AsyncNbdServer
from qemu_blocksdk.qmp import background_loop

from .proxy import SyncProxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from qemu_blocksdk.tools import Programs
    from qemu_blocksdk.tools.nbd import NbdAddress, NbdUri
    from qemu_blocksdk.tools.qemu_nbd import NbdExport, NbdServerOptions
    from qemu_blocksdk.tools.tls import TlsCredentials

    from .image import Image
    from .nbd_daemon import NbdDaemon
    from .process import Process


class NbdServer(SyncProxy):
    """A ``qemu-nbd`` of one's own.

    Use it as a context manager, or :meth:`launch` and :meth:`stop` it. It ends with the
    block, with the Python process at the latest; :meth:`fork` makes one that outlives that.
    """

    @property
    def _async(self) -> AsyncNbdServer:
        return cast("AsyncNbdServer", self._reach())

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
        image: Image,
        *,
        address: NbdAddress | None = None,
        launch_timeout: float = 30.0,
        untrusted: bool = False,
        **options: Unpack[NbdServerOptions],
    ) -> None:
        """Describe a server; nothing is started yet.

        ``address`` is a unix socket's path, or a TCP host and port (0: one that is free);
        by default a unix socket in a directory of our own. ``launch_timeout`` is in seconds.
        The other options are those of :class:`~qemu_blocksdk.tools.NbdServerOptions`.
        An ``untrusted`` image is read as :class:`Image` says, but without a limit of
        processor time: what clients ask for decides. It has to be ``read_only``.
        Raises UsageError for an address that cannot be right and for negative numbers.
        """
        self._hold(background_loop.call(
            lambda: AsyncNbdServer(
                image._async,
                address=address,
                launch_timeout=launch_timeout,
                untrusted=untrusted,
                **options,
            )
        ))

    def launch(self) -> None:
        """Start the server; it serves when this returns. Nothing is left when that fails.

        Raises LaunchError (with the exit status and what the program said) for an address in
        use, an image that is missing, locked or not of that format, an unknown bitmap or
        snapshot; Unsupported for an option that the binary lacks; UsageError when it runs
        already and for a backing chain that loops; SandboxUnavailable.
        """
        return background_loop.run(self._async.launch())

    def stop(self, *, grace: float = 5.0) -> int | None:
        """End the server: SIGTERM, ``grace`` seconds later SIGKILL. May be repeated.

        Clients are disconnected; SIGKILL loses what they have not flushed. Returns the exit
        status, negative for a signal; None when it was never launched.
        """
        return background_loop.run(self._async.stop(grace=grace))

    def wait(self, *, timeout: float | None = None) -> None:
        """Wait until the server ends: one that is not ``persistent`` does with its last client.

        Raises ToolError (with the exit status and what it said) when it failed or was killed,
        DeadlineExceeded.
        """
        return background_loop.run(self._async.wait(timeout=timeout))

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._async.is_running

    @property
    def process(self) -> Process:
        """The process: its id, exit status and output. Raises UsageError before the launch."""
        background_loop.assert_running()
        from . import Process

        return Process._of(self._async.process)

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export. Raises UsageError while it is not launched."""
        return self._async.uri

    def fork(self, *, timeout: float = 30.0) -> NbdDaemon:
        """Start a server that outlives this process (``qemu-nbd --fork``); it serves at once.

        Nothing ends it but :meth:`NbdDaemon.stop`, a signal or, where it is not
        ``persistent``, its last client. Raises ToolError with what it said when it could not
        begin, UsageError without an ``address``, for port 0, for a path that is taken and for an
        untrusted image, DeadlineExceeded, Unsupported.
        """
        background_loop.assert_running()
        from . import NbdDaemon

        return NbdDaemon._of(background_loop.run(self._async.fork(timeout=timeout)))

    @classmethod
    def list_exports(
        cls,
        uri: NbdUri | str,
        *,
        tls: TlsCredentials | None = None,
        programs: Programs | None = None,
        timeout: float = 10.0,
    ) -> Sequence[NbdExport]:
        """Ask a server what it exports (``qemu-nbd --list``).

        The export that the URI names does not matter. Raises ToolError when the server cannot
        be reached or refuses, UsageError for what is no URI and for one that needs ``tls``,
        Unsupported, DeadlineExceeded.
        """
        work = AsyncNbdServer.list_exports(uri, tls=tls, programs=programs, timeout=timeout)
        return background_loop.run(work)
