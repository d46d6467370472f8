"""A node as it was at one moment, for a reader over NBD, while it is written to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.objects import (
    AsyncBlockLayer,
    AsyncExportServer,
    AsyncImage,
    AsyncNode,
    AsyncUriExport,
)
from qemu_blocksdk.objects._base import subject
from qemu_blocksdk.objects.names import temporary_name
from qemu_blocksdk.qmp import clean_up, run_with_cleanup, shielded
from qemu_blocksdk.qmp.resource import AsyncResource
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import CreateQcow2, EncryptLuks
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.private_directory import private_directory
from qemu_blocksdk.wire import CopyBeforeWrite, QomSet, SnapshotAccess

from .temporary import temporary_image, temporary_node


@sealed_class
class AsyncPointInTime(AsyncResource):
    """The content of a node at the moment that the block is entered; gone with the block.

    What is overwritten meanwhile is kept in a scratch image (``copy-before-write``), through
    which the reader sees what was (``snapshot-access``). The scratch image of an encrypted
    node is encrypted, with a key that nobody keeps. Everybody who writes has to do so
    through :attr:`front`: a guest's ``device`` is moved there and back, an export has to
    be of it. QEMU refuses to begin while somebody else writes to the node.
    """

    def __init__(
        self,
        qemu: AsyncBlockLayer,
        node: AsyncNode,
        *,
        device: str | None = None,
        server: AsyncExportServer | None = None,
        scratch_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Describe it; nothing has been done yet.

        ``device`` is the id or QOM path of the guest's device on the node. Without a
        ``server`` that runs already, one is started on a unix socket. ``scratch_folder`` has
        to have room for what is overwritten; by default the one for temporary files. When it
        has none, the reader gets errors, the writers do not.
        """
        self._qemu = qemu
        self._node = node
        self._device = device
        self._server = server
        self._folder = scratch_folder
        self._stack: AsyncExitStack | None = None
        self._front: AsyncNode
        self._export: AsyncUriExport

    @property
    def front(self) -> AsyncNode:
        """The node to write to. Raises UsageError outside the block."""
        self._assert_entered()
        return self._front

    @property
    def uri(self) -> NbdUri:
        """Where the content is read. Raises UsageError outside the block."""
        self._assert_entered()
        return self._export.uri

    def _assert_entered(self) -> None:
        if self._stack is None:
            raise UsageError(f"{subject(self)} is not there outside its block")

    async def _enter(self) -> None:
        if self._stack is not None:
            raise UsageError(f"{subject(self)} has been entered already")
        self._stack = await run_with_cleanup(self._set_up(), owner=self._qemu.qmp)

    async def _set_up(self) -> AsyncExitStack:
        async with AsyncExitStack() as stack:
            path = stack.enter_context(private_directory(self._folder)) / "scratch"
            scratch = AsyncImage(path, format="qcow2", secret=await self._scratch_key())
            await scratch.create(
                (await self._node.query_info()).image.virtual_size,
                # The key is random, so its derivation need not be slow.
                CreateQcow2(encrypt=scratch._secret and EncryptLuks(iter_time=0.01)),
            )
            target = await stack.enter_async_context(temporary_image(self._qemu, scratch))
            filter = CopyBeforeWrite(
                node_name=temporary_name(self._qemu.qmp),
                file=self._node.name,
                target=target.name,
                on_cbw_error="break-snapshot",
            )
            self._front = await stack.enter_async_context(temporary_node(self._qemu, filter))
            if self._device is not None:
                await stack.enter_async_context(self._moved(self._device))
            then = SnapshotAccess(node_name=temporary_name(self._qemu.qmp), file=self._front.name)
            node = await stack.enter_async_context(temporary_node(self._qemu, then))
            server = self._server
            if server is None:
                server = await self._qemu.start_nbd_server()
                await stack.enter_async_context(server)
            self._export = await server.export(node)
            await stack.enter_async_context(self._export)
            return stack.pop_all()

    async def _scratch_key(self) -> Secret | None:
        """A key that nobody keeps, where any layer of the node is encrypted."""
        node = (await self._qemu.graph())[self._node.name]
        layers = [each.info for each in (node, *node.descendants)]
        is_encrypted = any(info is not None and info.encrypted for info in layers)
        return Secret(os.urandom(32).hex()) if is_encrypted else None

    @contextlib.asynccontextmanager
    async def _moved(self, device: str) -> AsyncGenerator[None]:
        """Put the front under a device for the time of a block."""
        path = device if device.startswith("/") else f"/machine/peripheral/{device}"
        await self._qemu._execute(QomSet(path=path, property="drive", value=self._front.name))
        back = QomSet(path=path, property="drive", value=self._node.name)
        try:
            yield
        except BaseException:
            with contextlib.suppress(BlockSdkError):
                await shielded(self._qemu._execute(back))
            raise
        await self._qemu._execute(back)

    async def _leave(self, error: BaseException | None) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            kind = None if error is None else type(error)
            await clean_up(stack.__aexit__(kind, error, None), owner=self._qemu.qmp)

    def __repr__(self) -> str:
        return f"<point in time of {self._node.name!r}>"
