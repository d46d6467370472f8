"""A disk of a running QEMU: its data moved, its chain of images shortened, under its users."""

from __future__ import annotations

import asyncio
import os
import re
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Final

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.objects import (
    AsyncBlockLayer,
    AsyncExportServer,
    AsyncImage,
    AsyncJob,
    AsyncNode,
    AsyncOperation,
)
from qemu_blocksdk.objects._base import subject
from qemu_blocksdk.objects.names import lasting_name, temporary_name
from qemu_blocksdk.qmp import AsyncQmp, shielded
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import CreationOptions
from qemu_blocksdk.tools.atomic_write import undo_on_failure
from qemu_blocksdk.tools.nbd_flush import nbd_flush
from qemu_blocksdk.tools.progress import ToolProgress

from .jobs import Tell, drive_all
from .temporary import remove_node, remove_secret

_MOVED: Final = re.compile(r"disk-[0-9a-f]{8}-[0-9]+")
"""A node that a disk was moved to; its secret, if it has one, has the same name."""

_turns: weakref.WeakValueDictionary[tuple[AsyncQmp, str], asyncio.Lock] = (
    weakref.WeakValueDictionary()
)
"""For the disks that are at work, by their nodes."""


@sealed_class
class AsyncDisk:
    """A disk, by the node that its users are on: a guest's device, an export.

    Its verbs take turns: one that was cancelled may go on for as long as the reads take that
    QEMU has begun, and the next waits for that.
    """

    def __init__(self, qemu: AsyncBlockLayer, node: AsyncNode) -> None:
        """Name a disk; QEMU is not asked."""
        self._qemu = qemu
        self._node = node
        self._switching: AsyncJob | None = None

    @property
    def node(self) -> AsyncNode:
        """The node that the users of the disk are on now."""
        return self._node

    async def move(
        self,
        target: AsyncImage,
        options: CreationOptions | None = None,
        *,
        replace: bool = False,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Mirror the disk into a new image, and switch its users over.

        The old node is removed; what backs it, if it was inside it, as well. The new image
        holds all content and has its name from the start, because QEMU keeps names; when
        this fails before the switch it is removed. The secret of an encrypted one stays in
        QEMU, under the new node's name. ``replace`` allows a file of that name to be
        replaced, which is given back on failure, and a block device to be overwritten. Raises
        JobFailed, CommandError, UsageError for an image that is there or
        in use, ConnectionLost.
        """
        operation = self.start_move(target, options, replace=replace)
        return await operation.run(on_progress=on_progress, timeout=timeout)

    def start_move(
        self,
        target: AsyncImage,
        options: CreationOptions | None = None,
        *,
        replace: bool = False,
    ) -> AsyncOperation[None]:
        """Start :meth:`move`; return it in flight."""
        return AsyncOperation(
            f"the move of {subject(self)}",
            lambda tell: self._in_turn(lambda: self._move(target, options, tell, replace=replace)),
        )

    async def commit(
        self,
        base: AsyncNode | None = None,
        *,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write the active layer into its backing file, and switch over to that.

        With ``base``, into an image further down the chain. The layers above it are removed
        from QEMU; their images stay, and are of no more use.
        """
        operation = self.start_commit(base)
        return await operation.run(on_progress=on_progress, timeout=timeout)

    def start_commit(self, base: AsyncNode | None = None) -> AsyncOperation[None]:
        """Start :meth:`commit`; return it in flight."""
        return AsyncOperation(
            f"the commit of {subject(self)}",
            lambda tell: self._in_turn(lambda: self._commit(base, tell)),
        )

    async def flatten(
        self,
        *,
        server: AsyncExportServer | None = None,
        on_progress: Callable[[ToolProgress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy what the backing files hold into the active layer, which then has none.

        Before it is cut off from them, what QEMU holds in memory of the layer is written, for
        a client of its NBD server: tell the ``server`` if there is one already.
        """
        operation = self.start_flatten(server=server)
        return await operation.run(on_progress=on_progress, timeout=timeout)

    def start_flatten(self, *, server: AsyncExportServer | None = None) -> AsyncOperation[None]:
        """Start :meth:`flatten`; return it in flight."""
        return AsyncOperation(
            f"the flattening of {subject(self)}",
            lambda tell: self._in_turn(lambda: self._flatten(server, tell)),
        )

    def __repr__(self) -> str:
        return f"<disk {self._node.name!r}>"

    # -- how ------------------------------------------------------------------------------

    async def _in_turn(self, work: Callable[[], Coroutine[object, None, None]]) -> None:
        while True:
            name = self._node.name
            async with _turns.setdefault((self._qemu.qmp, name), asyncio.Lock()):
                if name == self._node.name:  # else the one before has moved it
                    with self._qemu.qmp._owner.at_work():
                        return await work()

    async def _move(
        self, target: AsyncImage, options: CreationOptions | None, tell: Tell, *, replace: bool
    ) -> None:
        info = await self._node.query_info()
        _assert_fits(target, info.image.virtual_size)
        with undo_on_failure() as published:
            await target._create(
                info.image.virtual_size, options, replace=replace, published=published
            )
            # Not a temporary name: the users of the disk will be on the node.
            new = self._qemu.node(lasting_name(self._qemu.qmp, "disk"))
            job: AsyncJob | None = None
            try:
                await self._add(new, target)
                job = await self._node.start_mirror(new, sync="full")
                await self._switch(job, new, tell, at_last=published.settle)
            except BaseException:
                if job is not None and self._may_have_switched(job):
                    published.keep()  # the users may be on it
                else:
                    await remove_node(new)
                    await remove_secret(self._qemu, id=new.name)
                raise

    async def _add(self, node: AsyncNode, image: AsyncImage) -> None:
        """Open an image with its secret, which QEMU needs as long as the node is there."""
        key = None
        if image._secret is not None:
            key = node.name
            await self._qemu.add_secret(image._secret, id=key)
        await self._qemu.add_node(image.options(node.name, key_secret=key))

    async def _commit(self, base: AsyncNode | None, tell: Tell) -> None:
        below = base or await self._node.query_child("backing")
        await self._switch(await self._node.start_commit(base=below), below, tell)

    async def _flatten(self, server: AsyncExportServer | None, tell: Tell) -> None:
        # QEMU 7.2 and 10.0: the new header is in the file before the tables that it needs are.
        job = await self._node.start_stream(auto_finalize=False)
        await drive_all([job], lambda job: job.run(pre_finalize=lambda: self._flush(server)), tell)

    async def _flush(self, server: AsyncExportServer | None) -> None:
        """Write what QEMU holds in memory; only a client of its NBD server can ask for that."""
        async with AsyncExitStack() as stack:
            if server is None:
                server = await self._qemu.start_nbd_server()
                await stack.enter_async_context(server)
            export = await server.export(self._node, name=temporary_name(self._qemu.qmp))
            await stack.enter_async_context(export)
            await nbd_flush(export.uri)

    async def _switch(
        self,
        job: AsyncJob,
        new: AsyncNode,
        tell: Tell,
        *,
        at_last: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring a job to where it is ready, and then the users to the other node."""
        await drive_all([job], lambda job: job.wait(until="ready"), tell)
        at_last()
        self._switching = job
        try:
            await job.run()
        except asyncio.CancelledError:
            # Cancelled, unless it was too late for that: then the users are on the other node.
            if job.result is None or job.result.outcome != "completed":
                raise
        await shielded(self._take_over(new))

    async def _take_over(self, new: AsyncNode) -> None:
        old, self._node = self._node, new
        # One that was opened inside another goes with its last user.
        if old.name in {node.name for node in (await self._qemu.graph()).nodes}:
            await old.delete()
            if _MOVED.fullmatch(old.name):
                await remove_secret(self._qemu, id=old.name)

    def _may_have_switched(self, job: AsyncJob) -> bool:
        """Whether the job completed, or was told to when QEMU was lost."""
        if job.result is None:
            return self._switching is job
        return job.result.outcome == "completed"


def _assert_fits(target: AsyncImage, size: int) -> None:
    """Raise UsageError for a device that QEMU would mirror to only if it were of another size."""
    if target.format == "raw" and target.path.is_block_device():
        with target.path.open("rb") as device:
            room = device.seek(0, os.SEEK_END)
        if room != size:
            raise UsageError(f"{subject(target)} has {room} bytes, the disk {size}: not the same")
