"""Add one node, qcow2 over file, as the first thing that a process does.

`python -m benchmarks.children.add WAY IMAGE` prints the seconds that the add took once
the process was connected. No import of the package stands at the top: what each way has
to load is part of what is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from benchmarks.peers import RawQmp, daemon, daemon_socket


def raw(image: str) -> float:
    """Do it by hand: what it needs is imported before."""
    with daemon(guarded=False) as (process, sock):
        qmp = RawQmp(sock)
        start = time.perf_counter()
        qmp.execute(
            "blockdev-add",
            {
                "driver": "qcow2",
                "node-name": "disk",
                "file": {"driver": "file", "filename": image},
            },
        )
        took = time.perf_counter() - start
        qmp.execute("quit")
        process.wait()
        return took


def connection(image: str) -> float:
    """Connect with `qemu_blocksdk.qmp` alone, then import what a typed add needs, and do it."""
    import asyncio

    from qemu_blocksdk.qmp import AsyncQmp

    async def add() -> float:
        with daemon_socket() as sock:
            async with await AsyncQmp.connect(sock) as qmp:
                start = time.perf_counter()

                from qemu_blocksdk.blockdev import File, Qcow2
                from qemu_blocksdk.wire import BlockdevAdd

                disk = Qcow2(node_name="disk", file=File(filename=image))
                await qmp.execute(BlockdevAdd(options=disk))
                return time.perf_counter() - start

    return asyncio.run(add())


def objects(image: str) -> float:
    """Do it as the README says."""
    from qemu_blocksdk import StorageDaemon
    from qemu_blocksdk.blockdev import File, Qcow2

    with StorageDaemon() as daemon:
        start = time.perf_counter()
        daemon.add_node(Qcow2(node_name="disk", file=File(filename=image)))
        return time.perf_counter() - start


WAYS: dict[str, Callable[[str], float]] = {way.__name__: way for way in (raw, connection, objects)}

if __name__ == "__main__":
    print(WAYS[sys.argv[1]](sys.argv[2]))
