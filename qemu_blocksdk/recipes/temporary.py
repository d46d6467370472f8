"""What a recipe adds to a QEMU for a while: nodes, images with their secrets.

All of it has temporary names, so that :meth:`AsyncBlockLayer.clear_leftovers` finds what a client
leaves that is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from qemu_blocksdk.codec import NULL, Secret
from qemu_blocksdk.errors import BlockSdkError, DeadlineExceeded
from qemu_blocksdk.objects import AsyncBlockLayer, AsyncImage, AsyncNode
from qemu_blocksdk.objects.names import temporary_name
from qemu_blocksdk.qmp import shielded
from qemu_blocksdk.wire import BlockdevOptions, Qcow2


@contextlib.asynccontextmanager
async def temporary_node(
    qemu: AsyncBlockLayer, options: BlockdevOptions
) -> AsyncGenerator[AsyncNode]:
    """Add a node, of a name that nobody else has, for the time of a block."""
    with qemu.qmp._owner.at_work():
        try:
            node = await qemu.add_node(options)
        except (asyncio.CancelledError, DeadlineExceeded):
            # Given up while it was on its way: it may be there.
            await remove_node(qemu.node(options.node_name or ""))
            raise
        try:
            yield node
        except BaseException:
            await remove_node(node)
            raise
        await node.delete()


@contextlib.asynccontextmanager
async def temporary_image(
    qemu: AsyncBlockLayer, image: AsyncImage, *, backing: bool = True
) -> AsyncGenerator[AsyncNode]:
    """Open an image as a node, with the secret that it has, for the time of a block.

    Without ``backing``, not what it is upon.
    """
    async with contextlib.AsyncExitStack() as stack:
        key = None
        if image._secret is not None:
            key = temporary_name(qemu.qmp)
            await stack.enter_async_context(temporary_secret(qemu, image._secret, id=key))
        options = image.options(temporary_name(qemu.qmp), key_secret=key)
        if not backing and isinstance(options, Qcow2):
            options = options.evolve(backing=NULL)
        yield await stack.enter_async_context(temporary_node(qemu, options))


@contextlib.asynccontextmanager
async def temporary_secret(
    qemu: AsyncBlockLayer, secret: Secret, *, id: str
) -> AsyncGenerator[None]:
    """Give QEMU a secret for the time of a block."""
    with qemu.qmp._owner.at_work():
        try:
            await qemu.add_secret(secret, id=id)
            yield
        finally:
            await remove_secret(qemu, id=id)


async def remove_secret(qemu: AsyncBlockLayer, *, id: str) -> None:
    """Remove a secret, if it is there and QEMU as well."""
    with contextlib.suppress(BlockSdkError):
        await shielded(qemu.delete_object(id))


async def remove_node(node: AsyncNode) -> None:
    """Remove a node, if it is there and QEMU as well."""
    with contextlib.suppress(BlockSdkError):
        await shielded(node.delete())
