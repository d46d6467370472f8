"""Start, watch and stop a QEMU process (:class:`QemuProcess`).

Descriptors that it inherits are in a :class:`Handover`; its arguments are made in
``tools/qemu_args.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypedDict, cast

from qemu_blocksdk.codec import JsonObject, Secret, Unknown, encode
from qemu_blocksdk.errors import BlockSdkError, ConnectionLost, LaunchError, UsageError
from qemu_blocksdk.qmp import (
    AsyncProcess,
    AsyncQmp,
    OnMessage,
    ServerKind,
    background_loop,
    shielded,
)
from qemu_blocksdk.qmp.address import address_text
from qemu_blocksdk.qmp.process import launch_errors
from qemu_blocksdk.tools.listening_socket import ListeningSocket, checked
from qemu_blocksdk.tools.qemu_args import Chardev, MonitorAddress, Program, json_args
from qemu_blocksdk.tools.run import handed_over

from .binary_cache import binary_identity

if TYPE_CHECKING:
    from qemu_blocksdk.wire import BlockdevOptions, NbdServerStart, ObjectOptions


class QemuOptions(TypedDict, total=False):
    """What every QEMU can be told at its launch, in the order in which QEMU gets it."""

    chardevs: Sequence[Chardev]
    monitors: Sequence[MonitorAddress]
    """Where others may connect by QMP (``attach``)."""
    secrets: Mapping[str, Secret]
    """By the ids that options refer to (``key_secret``); no command line shows them."""
    objects: Sequence[ObjectOptions]
    blockdevs: Sequence[BlockdevOptions]
    args: Sequence[str]
    """What comes last on the command line, as it is."""
    pass_fds: Sequence[int]
    """Open descriptors that it inherits under their numbers, for ``args`` that name them."""
    launch_timeout: float
    """Seconds."""
    command_timeout: float
    """Seconds that a command may take that names no limit itself."""
    on_message: OnMessage
    """Called with each QMP message of either direction (``AsyncQmp.connect``)."""
    qmp_id: str
    """The id of the chardev that our own QMP connection has, which ``query-chardev`` shows."""


class QemuProcess:
    """A QEMU that is started, watched and stopped by its owner, which may launch it again."""

    def __init__(
        self,
        program: Program,
        args: Sequence[str],
        *,
        kind: ServerKind,
        pass_fds: Sequence[int],
        launch_timeout: float,
        command_timeout: float,
        on_message: OnMessage | None,
        qmp_id: str,
    ) -> None:
        if isinstance(program, str | os.PathLike):
            program = (os.fspath(program),)
        if not program:
            raise UsageError("an empty program cannot be launched")
        self.program: str = program[0]
        self.launch_timeout = launch_timeout
        self._options = tuple(program[1:])
        self._args, self._pass_fds = tuple(args), tuple(pass_fds)
        self._kind: ServerKind = kind
        self._command_timeout = command_timeout
        self._on_message = on_message
        self._qmp_id = qmp_id
        self._guard = background_loop.process_guard
        self._is_launching = False
        self._child: AsyncProcess | None = None
        self._held = contextlib.ExitStack()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that made the object, not a child of ``os.fork()``."""
        return self._guard.is_here

    @property
    def is_launched(self) -> bool:
        """Whether there was a launch, whether or not it still runs."""
        return self._child is not None

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.exit_status is None

    @property
    def child(self) -> AsyncProcess:
        """The process. Raises UsageError before the launch."""
        if self._child is None:
            raise self.not_launched()
        return self._child

    def not_launched(self) -> UsageError:
        """Return the error of what needs a launch first."""
        return UsageError(f"{self.program} has not been launched")

    async def launch(self, arguments: Callable[[Handover], Awaitable[list[str]]]) -> AsyncQmp:
        """Start the process with these arguments and connect to it.

        Nothing is left of it when that fails. Raises LaunchError, UsageError when it runs already.
        """
        if self.is_running or self._is_launching:
            raise UsageError(f"{self.program} is already running")
        self._is_launching = True
        try:
            return await self._launch(arguments)
        finally:
            self._is_launching = False

    async def _launch(self, arguments: Callable[[Handover], Awaitable[list[str]]]) -> AsyncQmp:
        self._held.close()  # of a process before this one, which ended by itself
        process, argv = None, [self.program, *self._options]
        with launch_errors(argv):
            given = Handover(self._kind, self._qmp_id)
        try:
            with launch_errors(argv), given:
                argv += [*await arguments(given), *self._args]
                process = await AsyncProcess.spawn(argv, pass_fds=(*given.fds, *self._pass_fds))
            session = await AsyncQmp._connect(
                given.qmp,
                timeout=self.launch_timeout,
                command_timeout=self._command_timeout,
                kind=self._kind,
                binary=binary_identity(self.program),
                peer=process,
                on_message=self._on_message,
            )
        except BaseException as error:
            given.qmp.close()
            if process is not None:
                await shielded(process.kill())
            given.ours.close()
            if process is not None and isinstance(error, (ConnectionLost, TimeoutError)):
                if isinstance(error, TimeoutError):
                    what = f"was not ready within {self.launch_timeout:g} s"
                elif error.exit_status is None:
                    what = f"is no QEMU: {error.what}"
                else:
                    what = "ended before it was ready"
                raise LaunchError(
                    f"{self.program} {what}",
                    argv=process.argv,
                    exit_status=getattr(error, "exit_status", None),
                    output=process.output_tail(),
                ) from error
            raise
        self._child, self._held = process, given.ours
        return session

    async def stop(self, session: AsyncQmp | None, grace: float) -> int | None:
        """End the process: ``quit``, then SIGTERM, then SIGKILL, ``grace`` seconds apart.

        Returns the exit status, negative for a signal; None when it was never launched.
        """
        child = self._child
        if child is None:
            return None
        await self._quit(child, session, grace)
        if child.exit_status is not None:
            return child.exit_status
        # One that is stopped (SIGSTOP) does not handle SIGTERM either.
        return await (child.kill() if child.is_stopped else child.end(grace=grace))

    async def _quit(self, child: AsyncProcess, session: AsyncQmp | None, grace: float) -> None:
        try:
            if session is not None and session.is_connected:
                async with asyncio.timeout(grace):
                    # It may hang up instead of answering.
                    with contextlib.suppress(BlockSdkError):
                        await session.execute_raw("quit", timeout=grace)
                    await child.wait()
        except TimeoutError:
            pass

    async def kill(self) -> int | None:
        """End the process with SIGKILL. Returns as :meth:`stop`."""
        return None if self._child is None else await self._child.kill()

    def close(self) -> None:
        """Close what this process kept open for it. May be repeated."""
        self._held.close()


class Handover:
    """The descriptors that a QEMU inherits. Leaving the block closes its ends in this process.

    ``ours`` has what this process keeps open for as long as QEMU runs.
    """

    def __init__(self, kind: ServerKind, qmp_id: str) -> None:
        self.fds: list[int] = []
        self.ours: contextlib.ExitStack[bool | None] = contextlib.ExitStack()
        self._theirs = contextlib.ExitStack()
        self._kind: ServerKind = kind
        self.has_monitor_object: bool = False
        """Whether the binary is known to have the object type ``monitor-qmp``."""
        self._qmp_id = qmp_id
        self.qmp: socket.socket
        self.qmp, self._qmp_fd = self.channel()

    def channel(self) -> tuple[socket.socket, int]:
        """Return our end of a pair of sockets, and the child's descriptor of the other."""
        ours, theirs = socket.socketpair()
        self._theirs.enter_context(theirs)
        self.fds.append(theirs.fileno())
        return ours, theirs.fileno()

    def qmp_args(self) -> list[str]:
        """Return the options that offer QMP on our own channel."""
        return self._monitor_args(self._qmp_id, f"fd={self._qmp_fd}")

    async def listening_args(self, addresses: Iterable[MonitorAddress]) -> list[str]:
        """Listen at each address; return the options that offer QMP there. Raises LaunchError."""
        args: list[str] = []
        for number, address in enumerate(addresses):
            socket_args = f"fd={await self._listening(address)},server=on,wait=off"
            args += self._monitor_args(f"blocksdk-monitor{number}", socket_args)
        return args

    async def nbd_args(self, server: NbdServerStart) -> list[str]:
        """Return ``--nbd-server``, which has QMP's members, but a flat address."""
        address = encode(server.addr)
        flat: JsonObject = {"type": address["type"], **cast("JsonObject", address["data"])}
        if flat["type"] == "unix" and not flat.get("abstract"):
            # QEMU 7.2: the storage daemon takes away the socket of another and leaves its own
            # behind, so it inherits one of ours.
            flat = {"type": "fd", "str": str(await self._listening(str(flat["path"])))}
        members = {**encode(server), "addr": flat}
        return json_args("--nbd-server", [Unknown(tag=None, members=members)])

    async def _listening(self, address: MonitorAddress) -> int:
        try:
            listener = await ListeningSocket.at(checked(address))
        except OSError as error:
            where = address_text(address)
            raise LaunchError(f"cannot listen at {where}: {error}", argv=()) from error
        self._theirs.enter_context(listener)
        self.ours.callback(listener.remove)
        self.fds.append(listener.sock.fileno())
        return listener.sock.fileno()

    def _monitor_args(self, id: str, socket_args: str) -> list[str]:
        if self.has_monitor_object:
            monitor = ["-object", f"monitor-qmp,id={id},chardev={id}"]
        elif self._kind == "storage-daemon":
            monitor = ["--monitor", f"chardev={id}"]
        else:
            # QEMU 11.1: -mon is deprecated, -qmp is not.
            monitor = ["-qmp", f"chardev:{id}"]
        return ["--chardev", f"socket,id={id},{socket_args}", *monitor]

    def secret_args(self, secrets: Mapping[str, Secret]) -> list[str]:
        """Return the options that define the secrets."""
        args, fds = self._theirs.enter_context(handed_over(secrets))
        self.fds += fds
        return args

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._theirs.close()
