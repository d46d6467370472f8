"""Faults of real programs that last for a block and are repaired at its end.

``replay`` plays faults that no real QEMU shows. Errors that depend on QEMU's own events, or that
hit flushes, are rules of a blkdebug node, which the node has from the start
(``options.blkdebug(rule)``).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from errno import EIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from qemu_blocksdk.blockdev import Blkdebug, Raw
from qemu_blocksdk.blockdev.checking import sound_name
from qemu_blocksdk.codec import evolve
from qemu_blocksdk.errors import ConnectionLost, GraphError, UsageError
from qemu_blocksdk.objects import AsyncNbdServer, AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.objects.names import temporary_name
from qemu_blocksdk.qmp import background_loop, shielded
from qemu_blocksdk.tools.run import run
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.wire import BlkdebugInjectErrorOptions

if TYPE_CHECKING:
    from qemu_blocksdk import VM, NbdServer, StorageDaemon
    from qemu_blocksdk.wire import BlkdebugEvent, BlkdebugIOType, BlockdevOptions

_STATES = os.WSTOPPED | os.WEXITED | os.WNOWAIT


class Injected(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """A fault that exists while its block runs.

    Use ``with`` for blocking objects and ``async with`` for awaitable ones. The end of the block
    raises nothing if QEMU has ended.
    """

    def __init__(self, name: str, work: AbstractAsyncContextManager[None]) -> None:
        self._name = name
        self._work = work

    def __enter__(self) -> None:
        background_loop.run(self._work.__aenter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        background_loop.run(self._work.__aexit__(kind, error, trace))

    async def __aenter__(self) -> None:
        await self._work.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._work.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<{self._name}>"


# -- requests -----------------------------------------------------------------------------


def breakpoint_on(vm: VM | AsyncVM, drive: str, *, event: BlkdebugEvent | None = None) -> Injected:
    """Hold requests of a drive at a breakpoint of its blkdebug node.

    Names and errors are as for :meth:`VM.pause_drive`. The end of the block resumes the requests.
    """
    hold = _breakpoint(vm if isinstance(vm, AsyncVM) else vm._async, drive, event)
    return Injected(f"breakpoint on {drive!r}", hold)


@contextlib.asynccontextmanager
async def _breakpoint(vm: AsyncVM, drive: str, event: BlkdebugEvent | None) -> AsyncGenerator[None]:
    async def resume() -> None:
        with contextlib.suppress(GraphError):  # the drive is gone
            await vm.resume_drive(drive)

    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(_unless_gone, vm, resume)
        await vm.pause_drive(drive, event)
        yield


def failing_requests(
    qemu: VM | StorageDaemon | AsyncVM | AsyncStorageDaemon,
    options: BlockdevOptions,
    *kinds: BlkdebugIOType,
    errno: int = EIO,
) -> Injected:
    """Make requests of these kinds fail between a running node and its ``file``.

    ``options`` are the options of the node; while the block runs, a blkdebug node is below it
    (``blockdev-reopen``). ``errno.ENOSPC`` for ``write`` and ``write-zeroes`` acts like a full
    disk. Raises UsageError for flushes and for no kind, GraphError for a node that does not exist
    or has no ``file``, CommandError if QEMU refuses.
    """
    aio = qemu if isinstance(qemu, AsyncVM | AsyncStorageDaemon) else qemu._async
    return Injected(f"failing requests of {qemu!r}", _failing(aio, options, kinds, errno))


@contextlib.asynccontextmanager
async def _failing(
    qemu: AsyncVM | AsyncStorageDaemon,
    options: BlockdevOptions,
    kinds: tuple[BlkdebugIOType, ...],
    errno: int,
) -> AsyncGenerator[None]:
    # QEMU 7.2 and 10.0: what is reopened is flushed first, so a rule that fails that would stay.
    if not kinds or "flush" in kinds:
        raise UsageError("say what is to fail, other than flushes: options.blkdebug() can do those")
    name = sound_name(options)

    def over(file: str) -> BlockdevOptions:
        try:
            return evolve(options, file=file)
        except TypeError as error:
            raise UsageError(f"these are no options of node {name!r}: {error}") from error

    file = (await qemu.node(name).query_child("file")).name
    rules = [BlkdebugInjectErrorOptions(event="none", iotype=kind, errno=errno) for kind in kinds]
    bad = Blkdebug(
        node_name=temporary_name(qemu.qmp),
        image=file,
        inject_error=rules,
        read_only=options.read_only,
        auto_read_only=options.auto_read_only,
    )
    # The node's own metadata may be dirty, and cannot be flushed to the blkdebug. So what is
    # reopened first is a node in between, which has none.
    between = Raw(
        node_name=temporary_name(qemu.qmp),
        file=str(bad.node_name),
        read_only=options.read_only,
        auto_read_only=options.auto_read_only,
    )

    async def mend() -> None:
        await qemu.reopen([between.evolve(file=file)])
        if name in await qemu.graph():  # it may be gone by now
            await qemu.reopen([over(file)])

    async with contextlib.AsyncExitStack() as undo:
        for each in (bad, between):
            node = await qemu.add_node(each)
            undo.push_async_callback(_unless_gone, qemu, node.delete)
        await qemu.reopen([over(str(between.node_name))])
        undo.push_async_callback(_unless_gone, qemu, mend)
        yield


async def _unless_gone(
    qemu: AsyncVM | AsyncStorageDaemon, mend: Callable[[], Coroutine[object, None, None]]
) -> None:
    if qemu.is_running:
        with contextlib.suppress(ConnectionLost):
            await shielded(mend())


# -- programs -----------------------------------------------------------------------------


@contextlib.contextmanager
def suspended(
    program: VM | StorageDaemon | NbdServer | AsyncVM | AsyncStorageDaemon | AsyncNbdServer,
) -> Generator[None]:
    """Suspend a program (SIGSTOP) while the block runs, and resume it (SIGCONT).

    Raises UsageError for a program that was not launched by this object, has ended, or is suspended
    already.
    """
    process = program.process
    if process.exit_status is not None:
        raise UsageError(f"{program!r} has ended: it cannot be suspended")
    # By its descriptor, because its number may be another's when it has ended.
    pidfd = os.pidfd_open(process.pid)
    try:
        if os.waitid(os.P_PIDFD, pidfd, _STATES | os.WNOHANG) is not None:
            raise UsageError(f"{program!r} is suspended already, or has ended")
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        try:
            os.waitid(os.P_PIDFD, pidfd, _STATES)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    finally:
        os.close(pidfd)


def lost_server(server: NbdServer | AsyncNbdServer) -> Injected:
    """Kill a server; while the block runs its address refuses connections. Then start it again.

    Clients with a ``reconnect_delay`` reconnect. Raises UsageError for a server that does not run,
    and for one that would come back at another address.
    """
    loss = _lost(server if isinstance(server, AsyncNbdServer) else server._async)
    return Injected(f"loss of {server!r}", loss)


@contextlib.asynccontextmanager
async def _lost(server: AsyncNbdServer) -> AsyncGenerator[None]:
    address = server._address
    if not server.is_running:
        raise UsageError(f"{server!r} cannot be lost: it does not run")
    if address is None or (isinstance(address, tuple) and not address[1]):
        raise UsageError(f"{server!r} needs an address of its own to come back at")
    await shielded(server.process.kill())
    try:
        yield
    finally:
        await shielded(server.launch())


# -- disks --------------------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(path: str | os.PathLike[str], *, size: int | str = "1M") -> Generator[Path]:
    """Create a directory that is full after ``size`` bytes, given as int or as in ``"64M"``.

    It is a small tmpfs, which exists while the block runs. Raises ToolError without the right to
    mount one, UsageError if there is something at the path.
    """
    folder = Path(path).absolute()
    options = f"size={to_bytes(size)}"
    try:
        folder.mkdir()
    except OSError as error:
        raise UsageError(f"cannot make {str(folder)!r}: {error.strerror}") from error
    try:
        background_loop.run(run(("mount", "-t", "tmpfs", "-o", options, "blocksdk"), [str(folder)]))
        try:
            yield folder
        finally:
            background_loop.run(run(("umount", "--lazy"), [str(folder)]))
    finally:
        folder.rmdir()
