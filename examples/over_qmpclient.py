"""A program that has a QMPClient backs up a disk over it, and keeps the client."""

import asyncio
import sys
import tempfile
from pathlib import Path

from qemu.qmp import EventListener, QMPClient

from qemu_blocksdk.aio import AsyncImage, AsyncStorageDaemon
from qemu_blocksdk.errors import BlockSdkError


async def back_up(client: QMPClient, disk: AsyncImage, copy: AsyncImage) -> None:
    """Use the typed verbs over a connection that belongs to somebody else."""
    async with await AsyncStorageDaemon.attach(client) as daemon:
        node = await daemon.add_node(disk.options("disk"))
        await copy.create((await node.query_info()).image.virtual_size)
        target = await daemon.add_node(copy.options("copy"))
        await node.backup(target, timeout=60)
        print((await daemon.graph()).draw())
        await target.delete()
        await node.delete()


async def main(work: Path) -> None:
    disk = await AsyncImage.create_marked(work / "disk.raw", "16M")
    copy = AsyncImage(work / "copy.qcow2", format="qcow2")

    # In a program of your own, this is the QEMU that runs already, and the client that it has.
    async with AsyncStorageDaemon(monitors=[work / "monitor"]):
        client = QMPClient("example")
        await client.connect(str(work / "monitor"))
        jobs = EventListener("JOB_STATUS_CHANGE")
        with client.listen(jobs):
            await back_up(client, disk, copy)
            # The client is still connected, and has seen the events itself.
            print("events that the client has seen:", len(jobs.history))
            print("the client is still connected:", await client.execute("query-jobs"))
        await client.disconnect()

    if not (await disk.compare(copy)).is_equal:
        sys.exit("the copy differs from the disk")
    print("Verified: the copy equals the disk.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="blocksdk-example-") as folder:
        try:
            asyncio.run(main(Path(folder)))
        except BlockSdkError as error:
            sys.exit(f"over_qmpclient: {error}")
