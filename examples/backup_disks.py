"""Full, incremental and differential backups of two disks at one moment, each restored."""

import sys
import tempfile
from pathlib import Path

from qemu_blocksdk import Backup, Image, Node, StorageDaemon
from qemu_blocksdk.errors import BlockSdkError

MIB = 1 << 20


def fill(daemon: StorageDaemon, disks: list[Node], pattern: int) -> None:
    """Write to both disks, as their users would."""
    with daemon.start_nbd_server() as server:
        for number, disk in enumerate(disks):
            with server.export(disk, writable=True) as export:
                export.write((pattern + number) * MIB, 2 * MIB, pattern=pattern)


def content(daemon: StorageDaemon, disk: Node, path: Path) -> Image:
    """Copy what a disk holds now, to compare with later."""
    copy = Image(path, format="raw")
    with daemon.start_nbd_server() as server, server.export(disk) as export:
        Image.at_uri(export.uri).convert(copy)
    return copy


def main(work: Path) -> None:
    def image(label: str, disk: Node) -> Image:
        return Image(work / f"{disk.name}-{label}.qcow2", format="qcow2")

    with StorageDaemon() as daemon:
        disks: list[Node] = []
        for name in ("system", "data"):
            source = Image(work / f"{name}.qcow2", format="qcow2")
            source.create("64M")
            disks.append(daemon.add_node(source.options(name)))

        for turn, (label, base) in enumerate(
            [("full", None), ("monday", "full"), ("tuesday", "monday"), ("weekly", "full")]
        ):
            fill(daemon, disks, pattern=turn + 1)
            expected = [content(daemon, d, work / f"{d.name}-{label}.raw") for d in disks]
            backup = Backup(daemon)
            for disk in disks:
                on = None if base is None else image(base, disk)
                backup.add_disk(disk, image(label, disk), base=on)
            if base is None:
                backup.full()
            elif label == "weekly":
                backup.differential()
            else:
                backup.incremental()

            for disk, wanted in zip(disks, expected, strict=True):
                restored = Image(work / "restored.raw", format="raw")
                image(label, disk).convert(restored, replace=True)
                if not restored.compare(wanted).is_equal:
                    sys.exit(f"{label}: the backup of {disk.name} differs")
                size = image(label, disk).path.stat().st_size / MIB
                print(f"{label:8} {disk.name:7} {size:4.1f} MiB, restored and verified")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="blocksdk-example-") as folder:
        try:
            main(Path(folder))
        except BlockSdkError as error:
            sys.exit(f"backup_disks: {error}")
