"""qemu-nbd: an image for NBD clients, while no QEMU has it open for writing.

The listening socket is made here and inherited, the way systemd does it: a port that is
free is found without a race, and nobody's socket is taken away. (``--selinux-label`` has
no meaning then, and the kernel's client, ``--connect``, is no business of a library.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Generator, Sequence
from typing import Unpack

from qemu_blocksdk.codec import masked
from qemu_blocksdk.errors import LaunchError, ToolError, UsageError
from qemu_blocksdk.qmp import AsyncProcess, background_loop, shielded
from qemu_blocksdk.qmp.address import address_text
from qemu_blocksdk.qmp.deadline import within
from qemu_blocksdk.qmp.process import launch_errors
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import Programs
from qemu_blocksdk.tools.listening_socket import Listener, checked
from qemu_blocksdk.tools.nbd import NbdAddress, NbdUri
from qemu_blocksdk.tools.qemu_nbd import (
    HANDSHAKE_LIMIT,
    NbdExport,
    NbdServerOptions,
    address_words,
    assert_offers,
    list_exports,
    server_words,
)
from qemu_blocksdk.tools.run import Confinement, confined, handed_over, moved
from qemu_blocksdk.tools.socket_directory import SocketDirectory
from qemu_blocksdk.tools.target import Target
from qemu_blocksdk.tools.tls import TlsCredentials, TlsPsk, TlsX509, tls_secrets
from qemu_blocksdk.tools.untrusted import TO_SERVE

from ._base import subject
from .image import AsyncImage
from .nbd_daemon import AsyncNbdDaemon


@sealed_class
class AsyncNbdServer(AsyncResource):
    """A ``qemu-nbd`` of one's own.

    Use it as a context manager, or :meth:`launch` and :meth:`stop` it. It ends with the
    block, with the Python process at the latest; :meth:`fork` makes one that outlives that.
    """

    def __init__(
        self,
        image: AsyncImage,
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
        An ``untrusted`` image is read as :class:`AsyncImage` says, but without a limit of
        processor time: what clients ask for decides. It has to be ``read_only``.
        Raises UsageError for an address that cannot be right and for negative numbers.
        """
        if untrusted:
            image._assert_only_read(
                read_only=options.get("read_only", False),
                snapshot=options.get("snapshot", False),
            )
        self._image = image
        self._is_untrusted = untrusted
        self._address = None if address is None else checked(address)
        self._programs = image._programs
        self._launch_timeout = launch_timeout
        self._options = options
        self._words = server_words(options)
        self._tls = options.get("tls")
        self._guard = background_loop.process_guard
        self._is_launching = False
        self._process: AsyncProcess | None = None
        self._confinement: Confinement | None = None
        self._listener: Listener | None = None
        self._socket_directory: SocketDirectory | None = None

    # -- life ---------------------------------------------------------------------------

    async def launch(self) -> None:
        """Start the server; it serves when this returns. Nothing is left when that fails.

        Raises LaunchError (with the exit status and what the program said) for an address in
        use, an image that is missing, locked or not of that format, an unknown bitmap or
        snapshot; Unsupported for an option that the binary lacks; UsageError when it runs
        already and for a backing chain that loops; SandboxUnavailable.
        """
        if self.is_running or self._is_launching:
            raise UsageError(f"{self!r} is already running")
        self._is_launching = True
        try:
            await self._launch()
        finally:
            self._is_launching = False

    async def _launch(self) -> None:
        self._clean()
        self._process = None
        try:
            async with asyncio.timeout(self._launch_timeout):
                await self._assert_offered()
                await self._serve()
        except BaseException as error:
            late = self._failure(f"qemu-nbd was not ready within {self._launch_timeout:g} s")
            await shielded(self._stop(grace=0.0))
            if isinstance(error, TimeoutError):
                raise late from error
            raise

    async def _assert_offered(self) -> None:
        if "handshake_limit" in self._options:
            await assert_offers(self._programs.qemu_nbd, HANDSHAKE_LIMIT)

    async def _serve(self) -> None:
        address = self._address
        if address is None:
            self._socket_directory = SocketDirectory()
            address = checked(self._socket_directory.path / "nbd.sock")
        try:
            self._listener = listener = await Listener.at(address)
        except OSError as error:
            what = f"cannot listen at {address_text(address)}: {error.strerror}"
            raise self._failure(what) from error
        with listener:
            with (
                self._opened() as (target, self._confinement),
                handed_over({**target.secrets, **tls_secrets(self._tls)}) as (objects, fds),
            ):
                program = self._programs.qemu_nbd
                # The program has to be qemu-nbd itself or become it: the socket is meant for
                # one process id.
                self._process = await AsyncProcess.spawn(
                    [*program, *objects, *self._words, *target.words()],
                    listener=listener.sock,
                    **confined(self._confinement, program, pass_fds=fds),
                )
            if not await listener.is_served():
                await self._process.wait()
                raise self._failure("qemu-nbd ended before it was ready")

    @contextlib.contextmanager
    def _opened(self) -> Generator[tuple[Target, Confinement | None]]:
        """Give how qemu-nbd is told of the image, and what it is confined to."""
        with contextlib.ExitStack() as stack:
            target, confinement = stack.enter_context(
                self._image._opened(untrusted=self._is_untrusted, limits=TO_SERVE)
            )
            if confinement is not None and isinstance(self._tls, TlsPsk | TlsX509):
                with launch_errors(self._programs.qemu_nbd):
                    keys = moved(os.open(self._tls.directory, os.O_RDONLY | os.O_CLOEXEC))
                stack.callback(os.close, keys)
                descriptors = [*confinement.descriptors, keys]
                confinement = confinement.evolve(descriptors=descriptors)
            yield target, confinement

    def _failure(self, what: str) -> LaunchError:
        process = self._process
        if process is None:
            return LaunchError(what, argv=[*self._programs.qemu_nbd, *self._words])
        return LaunchError(
            what,
            argv=process.argv,
            exit_status=process.exit_status,
            output=self._output(process),
        )

    def _output(self, process: AsyncProcess) -> str:
        output = process.output_tail()
        return output if self._confinement is None else self._confinement.with_users_names(output)

    async def stop(self, *, grace: float = 5.0) -> int | None:
        """End the server: SIGTERM, ``grace`` seconds later SIGKILL. May be repeated.

        Clients are disconnected; SIGKILL loses what they have not flushed. Returns the exit
        status, negative for a signal; None when it was never launched.
        """
        return await shielded(self._stop(grace))

    async def _stop(self, grace: float) -> int | None:
        process = self._process
        status = None if process is None else process.exit_status
        if process is not None and status is None:
            status = await process.end(grace=grace)
        self._clean()
        return status

    def _clean(self) -> None:
        if self._listener is not None:
            self._listener.remove()
        if self._socket_directory is not None:
            self._socket_directory.remove()
        self._listener = self._socket_directory = None

    async def wait(self, *, timeout: float | None = None) -> None:
        """Wait until the server ends: one that is not ``persistent`` does with its last client.

        Raises ToolError (with the exit status and what it said) when it failed or was killed,
        DeadlineExceeded.
        """
        status = await self.process.wait(timeout=timeout)
        if status:
            output = self._output(self.process)
            raise ToolError(self.process.argv, exit_status=status, output=output, what="ended")

    async def _enter(self) -> None:
        await self.launch()

    async def _leave(self, error: BaseException | None) -> None:
        # A child that came of os.fork() in here leaves the block too; the server is its parent's.
        if self._guard.is_here:
            await self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.exit_status is None

    @property
    def process(self) -> AsyncProcess:
        """The process: its id, exit status and output. Raises UsageError before the launch."""
        if self._process is None:
            raise UsageError(f"{self!r} has not been launched")
        return self._process

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export. Raises UsageError while it is not launched."""
        if self._listener is None:
            raise UsageError(f"{self!r} has not been launched")
        return self._uri(self._listener.address)

    def _uri(self, address: str | tuple[str, int]) -> NbdUri:
        export = self._options.get("export_name", "")
        return NbdUri(address=address, export=export, tls="tls" in self._options)

    # -- without us ---------------------------------------------------------------------

    async def fork(self, *, timeout: float = 30.0) -> AsyncNbdDaemon:
        """Start a server that outlives this process (``qemu-nbd --fork``); it serves at once.

        Nothing ends it but :meth:`AsyncNbdDaemon.stop`, a signal or, where it is not
        ``persistent``, its last client. Raises ToolError with what it said when it could not
        begin, UsageError without an ``address``, for port 0, for a path that is taken and for an
        untrusted image, DeadlineExceeded, Unsupported.
        """
        address = self._address
        if address is None or (isinstance(address, tuple) and not address[1]):
            raise UsageError(f"{self!r} needs an address that is known, and outlives this process")
        if self._is_untrusted:
            raise UsageError(f"{self!r} is of an untrusted image: launch() it")
        async with within(timeout, f"the start of {subject(self)}"):
            await self._assert_offered()
            with self._opened() as (target, _):
                return await AsyncNbdDaemon._start(
                    self._programs.qemu_nbd,
                    [*address_words(address), *self._words, *target.words()],
                    secrets={**target.secrets, **tls_secrets(self._tls)},
                    uri=self._uri(address),
                )

    @classmethod
    async def list_exports(
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
        where = NbdUri.parse(uri) if isinstance(uri, str) else uri
        program = (programs or Programs()).qemu_nbd
        return await list_exports(program, where, tls=tls, timeout=timeout)

    def __repr__(self) -> str:
        state = f"pid {self.process.pid}" if self.is_running else "not running"
        return f"<{type(self).__name__} of {masked(self._image._target.filename)!r}: {state}>"
