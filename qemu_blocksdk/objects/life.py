"""From the launch of a QEMU, or the connection to one that runs already, to its end.

What the program is told is in ``launch.py``; what is done with its block layer, and with
a guest, belongs to the subclasses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import BlockSdkError, ConnectionLost, LaunchError, UsageError
from qemu_blocksdk.qmp import (
    Address,
    AsyncProcess,
    AsyncQmp,
    OnMessage,
    ServerKind,
    background_loop,
    shielded,
)
from qemu_blocksdk.qmp.address import words
from qemu_blocksdk.qmp.process import launching
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.qmp.unwind import settle

from .launch import Chardev, Handover, MonitorAddress, Program, json_words, plain_words
from .live import Live

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

    from qemu_blocksdk.wire import BlockdevOptions, ObjectOptions


class Life(Live, AsyncResource):
    """A QEMU process: started and ended here, or attached to and left alone."""

    _kind: ClassVar[ServerKind]

    def __init__(
        self,
        *,
        program: Program,
        chardevs: Sequence[Chardev] = (),
        monitors: Sequence[MonitorAddress] = (),
        secrets: Mapping[str, Secret] | None = None,
        objects: Sequence[ObjectOptions] = (),
        blockdevs: Sequence[BlockdevOptions] = (),
        args: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        launch_timeout: float = 30.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
        qmp_id: str = "blocksdk-qmp",
    ) -> None:
        """Describe a QEMU; nothing is started yet.

        ``program`` is a path or a name in PATH, or that and its first options; the rest is
        in :class:`~qemu_blocksdk.objects.QemuOptions`. Raises UsageError for a program of
        no words.
        """
        if isinstance(program, str | os.PathLike):
            program = (os.fspath(program),)
        if not program:
            raise UsageError("a program of no words cannot be launched")
        self._program, self._options = program[0], tuple(program[1:])
        self._chardevs, self._monitors = tuple(chardevs), tuple(monitors)
        self._secrets = dict(secrets or {})
        self._objects, self._blockdevs = tuple(objects), tuple(blockdevs)
        self._args, self._pass_fds = tuple(args), tuple(pass_fds)
        self._launch_timeout = launch_timeout
        self._command_timeout = command_timeout
        self._on_message = on_message
        self._qmp_id = qmp_id
        self._guard = background_loop.process_guard
        self._is_launching = self._is_attached = False
        self._process: AsyncProcess | None = None
        self._session: AsyncQmp | None = None
        self._held = contextlib.ExitStack()

    @classmethod
    async def attach(
        cls,
        address: Address | QMPClient,
        *,
        timeout: float = 10.0,
        command_timeout: float = 60.0,
        on_message: OnMessage | None = None,
    ) -> Self:
        """Connect to one that runs already, by a QMP monitor of its own, in ``timeout`` seconds.

        It has the same verbs; :meth:`stop`, or leaving the block, only disconnects. Whoever holds
        a connected ``qemu.qmp.QMPClient`` gives that to an async class: it stays connected, and
        its owner may go on to use it. Raises ConnectionLost when nobody is there,
        DeadlineExceeded when nothing answers, as where another client has the monitor; UsageError
        for a client that is not connected or that belongs to another event loop.
        """
        where = words(address)
        session = await AsyncQmp._attach(
            address, timeout=timeout, command_timeout=command_timeout, on_message=on_message
        )
        self = cls(program=where, command_timeout=command_timeout)
        self._is_attached, self._session = True, session
        return self

    # -- launch -------------------------------------------------------------------------

    async def _arguments(self, given: Handover) -> list[str]:
        """The arguments that describe the QEMU and have it offer QMP on ``given.qmp``."""
        raise NotImplementedError

    async def _common_words(self, given: Handover) -> list[str]:
        """The arguments that a system emulator and a storage daemon have in common."""
        for options in self._blockdevs:
            sound_name(options)
        return [
            *plain_words("--chardev", self._chardevs),
            *await given.listening_words(self._monitors),
            *given.secret_words(self._secrets),
            *json_words("--object", self._objects),
            *json_words("--blockdev", self._blockdevs),
        ]

    async def launch(self) -> None:
        """Start the process and connect. Nothing is left of it when that fails.

        Raises LaunchError (with the exit status and what the program said), UsageError
        when it runs already or is attached to.
        """
        self._assert_ours("launch it")
        if self.is_running or self._is_launching:
            raise UsageError(f"{self._program} is already running")
        self._is_launching = True
        try:
            await self._launch()
        finally:
            self._is_launching = False

    async def _launch(self) -> None:
        self._held.close()  # of a process before this one, which ended by itself
        process, argv = None, [self._program, *self._options]
        with launching(argv):
            given = Handover(self._kind, self._qmp_id)
        try:
            with launching(argv), given:
                argv += [*await self._arguments(given), *self._args]
                process = await AsyncProcess.spawn(argv, pass_fds=(*given.fds, *self._pass_fds))
            self._session = await AsyncQmp._connect(
                given.qmp,
                timeout=self._launch_timeout,
                command_timeout=self._command_timeout,
                kind=self._kind,
                binary=identity(self._program),
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
                    what = f"was not ready within {self._launch_timeout:g} s"
                elif error.exit_status is None:
                    what = f"is no QEMU: {error.what}"
                else:
                    what = "ended before it was ready"
                raise LaunchError(
                    f"{self._program} {what}",
                    argv=process.argv,
                    exit_status=getattr(error, "exit_status", None),
                    output=process.output_tail(),
                ) from error
            raise
        self._process, self._held = process, given.ours

    # -- end ----------------------------------------------------------------------------

    async def stop(self, *, grace: float = 5.0) -> int | None:
        """End the process: ``quit``, then SIGTERM, then SIGKILL, ``grace`` seconds apart.

        Returns the exit status, negative for a signal; None when it was never launched, and
        where it is attached to: that is only disconnected. May be repeated.
        """
        return await shielded(self._stop(grace))

    async def kill(self) -> int | None:
        """End the process with SIGKILL. Returns as :meth:`stop`, and may be repeated.

        Raises UsageError where it is attached to.
        """
        self._assert_ours("kill it")
        return await shielded(self._kill())

    async def _stop(self, grace: float) -> int | None:
        process, status = self._process, None
        if process is not None:
            await self._quit(process, grace)
            status = process.exit_status
            if status is None:
                # One that is stopped (SIGSTOP) does not see SIGTERM, either.
                status = await (process.kill() if process.is_stopped else process.end(grace=grace))
        await self._clean_up()
        return status

    async def _quit(self, process: AsyncProcess, grace: float) -> None:
        try:
            if self._session is not None and self._session.is_connected:
                async with asyncio.timeout(grace):
                    # It may hang up instead of answering.
                    with contextlib.suppress(BlockSdkError):
                        await self._session.execute_raw("quit", timeout=grace)
                    await process.wait()
        except TimeoutError:
            pass

    async def _kill(self) -> int | None:
        status = None if self._process is None else await self._process.kill()
        await self._clean_up()
        return status

    async def _clean_up(self) -> None:
        if self._session is not None:
            await self._session.close()
            await settle(self._session)
        self._held.close()

    async def _enter(self) -> None:
        if not self._is_attached:
            await self.launch()

    async def _leave(self, error: BaseException | None) -> None:
        # A child that came of os.fork() in here leaves the block too; QEMU is its parent's.
        if self._guard.is_here:
            await self.stop()

    # -- what there is ------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the process runs; where it is attached to, whether it is connected."""
        if self._is_attached:
            return self.qmp.is_connected
        return self._process is not None and self._process.exit_status is None

    @property
    def process(self) -> AsyncProcess:
        """The process: its id, exit status and output, also after its end.

        Raises UsageError before the launch, and where it is attached to.
        """
        self._assert_ours("reach its process")
        if self._process is None:
            raise self._not_launched()
        return self._process

    @property
    def qmp(self) -> AsyncQmp:
        """The QMP connection. Raises UsageError before the launch."""
        if self._session is None:
            raise self._not_launched()
        return self._session

    def _connection(self) -> AsyncQmp:
        return self.qmp

    def _not_launched(self) -> UsageError:
        return UsageError(f"{self._program} has not been launched")

    def _assert_ours(self, purpose: str) -> None:
        if self._is_attached:
            raise UsageError(f"{self._program} is attached to, not ours: we cannot {purpose}")

    def __repr__(self) -> str:
        state = "not running"
        if self._is_attached:
            state = "attached" if self.is_running else "detached"
        elif self.is_running:
            state = f"pid {self.process.pid}"
        return f"<{type(self).__name__} {self._program}: {state}>"


def identity(program: str) -> object:
    """What tells a binary from another: replaced on disk, it is not the same any more.

    The name counts, because one file may be several programs.
    """
    path = shutil.which(program)
    if path is None:
        return None
    with contextlib.suppress(OSError):
        status = os.stat(path)  # noqa: PTH116
        return path.rpartition("/")[2], status.st_dev, status.st_ino, status.st_mtime_ns
    return None
