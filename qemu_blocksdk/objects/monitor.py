"""What only a system emulator's monitor does: human commands, breakpoints, descriptors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import TypeVar, get_args

from qemu_blocksdk.codec import Command, masked
from qemu_blocksdk.errors import BlockSdkError, CommandError, GraphError, UsageError
from qemu_blocksdk.graph import BlockGraph, GraphNode
from qemu_blocksdk.wire import (
    AddFd,
    AddfdInfo,
    BlkdebugEvent,
    Closefd,
    FdsetInfo,
    Getfd,
    HumanMonitorCommand,
    QueryBlock,
    QueryFdsets,
    RemoveFd,
)

from .live import subject
from .node_io import quoted
from .qemu import AsyncQemu

R = TypeVar("R")

Descriptor = int | str | os.PathLike[str]
"""An open descriptor, or a file to open for reading and writing."""

_PAUSING: tuple[BlkdebugEvent, ...] = ("read_aio", "write_aio")
# The child that a request goes on to, as QEMU's search for a blkdebug does.
_PRIMARY = ("image", "raw", "file", "backing")


class Monitor(AsyncQemu):
    """The verbs of a VM's monitor."""

    # -- human commands -----------------------------------------------------------------

    async def hmp(self, command_line: str, *, timeout: float | None = None) -> str:
        """Run a human monitor command (``human-monitor-command``); return what it printed.

        A failure is a text like any other: QEMU does not tell it from success.
        """
        return await self._execute(HumanMonitorCommand(command_line=command_line), timeout=timeout)

    async def hmp_qemu_io(
        self, drive: str, command: str, *, qdev: bool = False, timeout: float | None = None
    ) -> None:
        """Run a command of qemu-io on a drive or node, or with ``qdev`` on a device's path.

        Whether it succeeded is not looked at: qemu-io prints to QEMU's own stdout, which
        :meth:`AsyncNode.qemu_io` reads. Raises CommandError for no such drive, and for a command
        that its users do not permit.
        """
        option = "-d " if qdev else ""
        line = f"qemu-io {option}{quoted(drive)} {quoted(command)}"
        said = " ".join((await self.hmp(line, timeout=timeout)).split())
        if said:
            error = CommandError(
                "GenericError",
                said.removeprefix("Error: "),
                command="qemu-io",
                arguments={"device": drive, "command": masked(command)},
            )
            error.subject = subject(self)
            raise error

    async def pause_drive(self, drive: str, event: BlkdebugEvent | None = None) -> None:
        """Hold requests of a drive at a breakpoint of the blkdebug that is in their way.

        ``drive`` is its id, or the node or device path of one that a device uses; by default
        requests are held when they begin to read or write. What waits for them in QEMU's main
        loop (a ``read`` of :meth:`hmp_qemu_io`, the guest's reset, ``quit``) holds up the monitor
        as well. Raises GraphError where there is no such drive or no blkdebug.
        """
        if event is not None and event not in get_args(BlkdebugEvent):
            raise UsageError(f"{event!r} is no event of blkdebug")
        name, qdev = await self._debugged(drive)
        for each in _PAUSING if event is None else (event,):
            await self.hmp_qemu_io(name, f"break {each} bp_{drive}", qdev=qdev)

    async def resume_drive(self, drive: str) -> None:
        """Let the requests go on that :meth:`pause_drive` holds, if any, and those to come.

        Raises as that does.
        """
        name, qdev = await self._debugged(drive)
        await self.hmp_qemu_io(name, f"remove_break bp_{drive}", qdev=qdev)

    async def _debugged(self, drive: str) -> tuple[str, bool]:
        """The name that qemu-io takes for a drive with a blkdebug, and whether it is a path."""
        # QEMU 10.0: qemu-io on a mere node waits for the requests that the node holds, so a
        # breakpoint could never be removed, and we go by what uses it.
        graph = await self.graph()
        found = "no such drive with a medium"
        for info in await self._execute(QueryBlock()):
            below = [] if info.inserted is None else _way_down(graph, info.inserted.node_name)
            if drive and drive in (info.device, info.qdev, *(node.name for node in below)):
                # qemu-io would complain to QEMU's stdout, where nobody sees it in time.
                if any(node.driver == "blkdebug" for node in below):
                    return info.device or info.qdev or "", not info.device
                found = ", ".join(str(node.driver) for node in below) or found
        error = GraphError(f"a blkdebug in the way of {drive!r}", found=found)
        error.subject = subject(self)
        raise error

    # -- descriptors --------------------------------------------------------------------

    async def getfd(self, fd: Descriptor, *, name: str) -> None:
        """Hand QEMU an open descriptor, or a file, under a name (``getfd``).

        QEMU has a copy; one that it had under the name is closed. Raises UsageError for what
        cannot be opened or passed.
        """
        await self._pass(Getfd(fdname=name), fd)

    async def closefd(self, name: str) -> None:
        """Have QEMU close a descriptor that :meth:`getfd` gave it (``closefd``)."""
        await self._execute(Closefd(fdname=name))

    async def add_fd(
        self, fd: Descriptor, *, fdset: int | None = None, opaque: str | None = None
    ) -> AddfdInfo:
        """Add an open descriptor, or a file, to a set: ``/dev/fdset/FDSET`` (``add-fd``).

        To a new one by default. Raises as :meth:`getfd`.
        """
        return await self._pass(AddFd(fdset_id=fdset, opaque=opaque), fd)

    async def remove_fd(self, fdset: int, *, fd: int | None = None) -> None:
        """Remove a set, or the one of its descriptors that has QEMU's number (``remove-fd``)."""
        await self._execute(RemoveFd(fdset_id=fdset, fd=fd))

    async def query_fdsets(self) -> list[FdsetInfo]:
        """Return the sets of descriptors (``query-fdsets``)."""
        return await self._execute(QueryFdsets())

    async def _pass(self, command: Command[R], fd: Descriptor) -> R:
        with _opened(fd) as number:
            try:
                return await self.qmp.execute_with_fd(command, number)
            except BlockSdkError as error:
                error.subject = subject(self)
                raise


def _way_down(graph: BlockGraph, name: str | None) -> list[GraphNode]:
    """The nodes that a request passes, from the one of that name down."""
    way = [node for node in graph.nodes if node.name == name and node.driver is not None]
    while way:
        children = {edge.name: edge.child for edge in way[-1].children}
        child = next((children[edge] for edge in _PRIMARY if edge in children), None)
        if child is None:
            break
        way.append(child)
    return way


@contextlib.contextmanager
def _opened(fd: Descriptor) -> Generator[int]:
    if isinstance(fd, int):
        yield fd
        return
    try:
        number = os.open(fd, os.O_RDWR | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot open {os.fspath(fd)!r}: {error}") from error
    try:
        yield number
    finally:
        os.close(number)
