"""Nodes that a recipe adds for a while."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from qemu_blocksdk.errors import BlockSdkError, DeadlineExceeded
from qemu_blocksdk.objects import AsyncNode, AsyncQemu
from qemu_blocksdk.qmp import finish
from qemu_blocksdk.wire import BlockdevOptions


@contextlib.asynccontextmanager
async def lent_node(qemu: AsyncQemu, options: BlockdevOptions) -> AsyncGenerator[AsyncNode]:
    """Add a node, of a name that nobody else has, for the time of a block."""
    try:
        node = await qemu.add_node(options)
    except (asyncio.CancelledError, DeadlineExceeded):
        # Given up while it was on its way: it may be there.
        await given_back(qemu.node(options.node_name or ""))
        raise
    try:
        yield node
    except BaseException:
        await given_back(node)
        raise
    await node.delete()


async def given_back(node: AsyncNode) -> None:
    """Remove a node, if it is there and QEMU as well."""
    with contextlib.suppress(BlockSdkError):
        await finish(node.delete())
