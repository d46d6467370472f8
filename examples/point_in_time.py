"""Read a disk as it was at one moment, while it is written to; compare with a copy of then."""

import sys
import tempfile
from pathlib import Path

from qemu_blocksdk import Image, PointInTime, StorageDaemon
from qemu_blocksdk.errors import BlockSdkError

MIB = 1 << 20


def main(work: Path) -> None:
    disk = Image(work / "disk.qcow2", format="qcow2")
    disk.create("64M")
    then = Image(work / "then.raw", format="raw")
    seen = Image(work / "seen.raw", format="raw")
    with StorageDaemon() as daemon, daemon.start_nbd_server() as server:
        node = daemon.add_node(disk.options("disk"))
        with server.export(node, writable=True) as export:
            export.write(0, 8 * MIB, pattern=1)
            Image.at_uri(export.uri).convert(then)

        with (
            PointInTime(daemon, node, server=server) as moment,
            # Whoever writes does so through the front.
            server.export(moment.front, name="disk", writable=True) as export,
        ):
            export.write(4 * MIB, 8 * MIB, pattern=2)
            Image.at_uri(moment.uri).convert(seen)
            print(f"read at {moment.uri} while the disk was written to")
        node.delete()

    if not seen.compare(then).is_equal:
        sys.exit("the reader did not see the moment")
    if disk.compare(then).is_equal:
        sys.exit("nothing was written meanwhile")
    print("Verified: the reader saw the moment, the disk has moved on.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="blocksdk-example-") as folder:
        try:
            main(Path(folder))
        except BlockSdkError as error:
            sys.exit(f"point_in_time: {error}")
