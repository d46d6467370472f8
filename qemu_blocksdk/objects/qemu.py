"""What every QEMU with a block layer has, be it a VM or a storage daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from qemu_blocksdk.blockdev.layers import name_of
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import (
    BlockSdkError,
    ConnectionLost,
    LaunchError,
    StateError,
    UsageError,
)
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.qmp import AsyncProcess, AsyncQmp, ServerKind, finish, portal
from qemu_blocksdk.qmp.resource import Resource
from qemu_blocksdk.wire import (
    BlockdevAdd,
    BlockdevOptions,
    ObjectAdd,
    QueryJobs,
    QueryNamedBlockNodes,
)

from .chain import Chains
from .exporting import Exporting
from .job import AsyncJob
from .node import AsyncNode
from .node_info import query_graph
from .nodes import Nodes
from .secret import secret_options
from .transaction import AsyncTransaction
from .user_objects import UserObjects

if TYPE_CHECKING:
    from qemu_blocksdk.wire import ActionCompletionMode, BlockDirtyInfo

Program = str | os.PathLike[str] | Sequence[str]
"""A path, a name in PATH, or that with options (``Programs.qemu``)."""


class AsyncQemu(Nodes, Exporting, UserObjects, Resource):
    """A QEMU process that this object starts, and its block layer.

    Use it as a context manager, or :meth:`launch` and :meth:`stop` it. The process ends
    with the block, with the Python process at the latest.
    """

    _kind: ClassVar[ServerKind]

    def __init__(
        self,
        *,
        program: Program,
        args: Sequence[str] = (),
        launch_timeout: float = 30.0,
        command_timeout: float = 60.0,
    ) -> None:
        """Describe a QEMU; nothing is started yet.

        ``program`` is a path or a name in PATH, or that and its first options; ``args`` are
        added to its command line; the time limits, in seconds, are for the launch and for
        every command. Raises UsageError for a program of no words.
        """
        if isinstance(program, str | os.PathLike):
            program = (os.fspath(program),)
        if not program:
            raise UsageError("a program of no words cannot be launched")
        self._program, self._options = program[0], tuple(program[1:])
        self._args = tuple(args)
        self._launch_timeout = launch_timeout
        self._command_timeout = command_timeout
        self._home = portal.home
        self._is_launching = False
        self._process: AsyncProcess | None = None
        self._session: AsyncQmp | None = None

    # -- life ---------------------------------------------------------------------------

    async def _arguments(self, monitor_fd: int) -> list[str]:
        """The arguments that make the program offer QMP on the descriptor."""
        raise NotImplementedError

    async def launch(self) -> None:
        """Start the process and connect. Nothing is left of it when that fails.

        Raises LaunchError (with the exit status and what the program said), UsageError
        when it runs already.
        """
        if self.is_running or self._is_launching:
            raise UsageError(f"{self._program} is already running")
        self._is_launching = True
        try:
            await self._launch()
        finally:
            self._is_launching = False

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        process, argv = None, [self._program, *self._options]
        try:
            with theirs:
                argv += [*await self._arguments(theirs.fileno()), *self._args]
                process = await AsyncProcess.spawn(argv, pass_fds=(theirs.fileno(),))
            self._session = await AsyncQmp._connect(
                ours,
                timeout=self._launch_timeout,
                command_timeout=self._command_timeout,
                kind=self._kind,
                binary=identity(self._program),
                peer=process,
            )
        except BaseException as error:
            ours.close()
            if process is None:
                raise
            await finish(process.kill())
            if isinstance(error, (ConnectionLost, TimeoutError)):
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
        self._process = process

    async def stop(self, *, grace: float = 5.0) -> int | None:
        """End the process: ``quit``, then SIGTERM, then SIGKILL, ``grace`` seconds apart.

        Returns the exit status, negative for a signal; None when it was never launched.
        May be repeated.
        """
        if self._process is None:
            return None
        return await finish(self._stop(self._process, grace))

    async def _stop(self, process: AsyncProcess, grace: float) -> int:
        try:
            if self._session is not None and self._session.is_connected:
                async with asyncio.timeout(grace):
                    # It may hang up instead of answering.
                    with contextlib.suppress(BlockSdkError):
                        await self._session.execute_raw("quit", timeout=grace)
                    await process.wait()
        except TimeoutError:
            pass
        status = process.exit_status
        if status is None:
            status = await process.end(grace=grace)
        if self._session is not None:
            await self._session.close()
        await self._traces.remove_all()
        return status

    async def _enter(self) -> None:
        await self.launch()

    async def _leave(self, error: BaseException | None) -> None:
        # A child that came of os.fork() in here leaves the block too; QEMU is its parent's.
        if self._home.is_here:
            await self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.exit_status is None

    @property
    def process(self) -> AsyncProcess:
        """The process: its id, exit status and output. Raises UsageError before the launch."""
        if self._process is None:
            raise UsageError(f"{self._program} has not been launched")
        return self._process

    def _connection(self) -> AsyncQmp:
        return self.qmp

    @property
    def qmp(self) -> AsyncQmp:
        """The QMP connection. Raises UsageError before the launch."""
        if self._session is None:
            raise UsageError(f"{self._program} has not been launched")
        return self._session

    async def add_secret(self, secret: Secret, *, id: str) -> None:
        """Give QEMU a secret under an id, which options refer to as ``key_secret``.

        ``object-add``, over the monitor's own socket; logs and errors show ``***``. Raises
        CommandError when the id is taken.
        """
        await self._execute(ObjectAdd(options=secret_options(secret, id=id)))

    # -- block layer --------------------------------------------------------------------

    async def add_node(self, options: BlockdevOptions) -> AsyncNode:
        """Add a block node (``blockdev-add``), with the children that are defined inside it.

        The options need a ``node_name``. Raises UsageError without one, CommandError
        when QEMU refuses (no such file, locked, not that format).
        """
        name = name_of(options)
        await self._execute(BlockdevAdd(options=options))
        await Chains.of(self.qmp).forget(self, name)
        return self.node(name)

    def node(self, name: str) -> AsyncNode:
        """Return the object of a node that QEMU has; QEMU is not asked."""
        return AsyncNode(self.qmp, name)

    async def graph(self) -> BlockGraph:
        """Return a picture of the block graph as it is now (``x-debug-query-block-graph``)."""
        return await query_graph(self)

    async def query_bitmaps(self) -> dict[str, Sequence[BlockDirtyInfo]]:
        """Return the dirty bitmaps of each node that has some, by its name."""
        nodes = await self._execute(QueryNamedBlockNodes(flat=True))
        return {
            info.node_name: info.dirty_bitmaps
            for info in nodes
            if info.node_name is not None and info.dirty_bitmaps
        }

    def transaction(
        self, *, completion_mode: ActionCompletionMode | None = None
    ) -> AsyncTransaction:
        """Return an empty transaction; with ``grouped``, its jobs complete together."""
        return AsyncTransaction(self.qmp, completion_mode=completion_mode)

    async def attach_job(self, job_id: str) -> AsyncJob:
        """Return the object of a job that somebody else started, watched from now on.

        It is neither finalized nor dismissed here unless that is asked for; an ``async with``
        block or :meth:`AsyncJob.run` takes it over. Raises StateError when there is none.
        """
        return await AsyncJob.attach(self.qmp, job_id)

    async def query_jobs(self) -> list[AsyncJob]:
        """Return every job there is (``query-jobs``), attached as by :meth:`attach_job`."""
        jobs: list[AsyncJob] = []
        for info in await self._execute(QueryJobs()):
            with contextlib.suppress(StateError):  # gone meanwhile
                jobs.append(await self.attach_job(info.id))
        return jobs

    def __repr__(self) -> str:
        state = f"pid {self.process.pid}" if self.is_running else "not running"
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
