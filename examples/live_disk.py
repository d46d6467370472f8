"""Commit the active layer, flatten the chain, and move the disk, all under its user."""

import sys
import tempfile
from pathlib import Path

from qemu_blocksdk import Disk, Image, StorageDaemon
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.tools import ToolProgress

MIB = 1 << 20


def draw(now: ToolProgress) -> None:
    """Draw a bar over the one before."""
    print(f"\r  [{('#' * int(40 * now.fraction)).ljust(40, '.')}]", end="", flush=True)


def main(work: Path) -> None:
    names = ("base", "middle", "top")
    layers = [Image(work / f"{name}.qcow2", format="qcow2") for name in names]
    layers[0].create("64M")
    layers[1].create(backing=layers[0])
    layers[2].create(backing=layers[1])
    options: Qcow2 | None = None
    for name, layer in zip(names, layers, strict=True):
        options = Qcow2(node_name=name, file=File(filename=str(layer.path)), backing=options)
    assert options is not None

    with StorageDaemon() as daemon, daemon.start_nbd_server() as server:
        disk = Disk(daemon, daemon.add_node(options))
        with server.export(disk.node, writable=True) as export:
            user = Image.at_uri(export.uri)

            def verify(what: str) -> None:
                """The user of the disk finds what he found before."""
                if not user.compare(expected).is_equal:
                    sys.exit(f"{what}: the disk is another")
                print(f"\r{what}: the user is on {disk.node.name!r}, verified".ljust(60))

            export.write(1 * MIB, 8 * MIB, pattern=7)
            expected = Image(work / "expected.raw", format="raw")
            user.convert(expected)

            disk.commit(on_progress=draw)
            verify("commit of the active layer")
            disk.flatten(server=server, on_progress=draw)
            verify("flattened chain")
            disk.move(Image(work / "moved.raw", format="raw"), on_progress=draw)
            verify("live mirror and pivot")
        print(daemon.graph().draw())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="blocksdk-example-") as folder:
        try:
            main(Path(folder))
        except BlockSdkError as error:
            sys.exit(f"live_disk: {error}")
