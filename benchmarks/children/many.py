"""Start daemons with a job each, and print by how many KiB the process has grown for each.

`python -m benchmarks.children.many COUNT`. One daemon before does not count: it loads the code.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import NullCo

from .memory import resident


async def _busy(stack: AsyncExitStack) -> None:
    daemon = await stack.enter_async_context(AsyncStorageDaemon())
    source, target = [
        await daemon.add_node(NullCo(node_name=name, size=1 << 30)) for name in ("s", "t")
    ]
    await stack.enter_async_context(await source.start_backup(target, speed=1))


async def main(count: int) -> float:
    """Return KiB a daemon."""
    async with AsyncExitStack() as stack:
        await _busy(stack)
        before = resident()
        for _ in range(count):
            await _busy(stack)
        return (resident() - before) / count


if __name__ == "__main__":
    print(asyncio.run(main(int(sys.argv[1]))))
