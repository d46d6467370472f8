"""Move a running guest to another VM, with its disk and what its bitmap has marked."""

import sys
import tempfile
from pathlib import Path

from qemu_blocksdk import VM, Image, Node, StorageMigration
from qemu_blocksdk.errors import BlockSdkError


def main(work: Path) -> None:
    images = [Image(work / f"{side}.qcow2", format="qcow2") for side in ("source", "target")]
    with VM() as source, VM(incoming="defer") as target:
        nodes: list[Node] = []
        for vm, image in zip((source, target), images, strict=True):
            image.create("64M")
            nodes.append(vm.add_node(image.options("disk")))
            vm.plug(nodes[-1], device="virtio-scsi", id="disk0")
        bitmap = nodes[0].add_bitmap("changes", persistent=True)
        source.hmp_qemu_io("disk0", "write -P 7 1M 4M", qdev=True)
        count = bitmap.query_info().count

        move = StorageMigration(source, target)
        move.add_disk(*nodes)
        move.migrate(timeout=60)

        moved = nodes[1].bitmap("changes").query_info()
        print(f"the guest is {target.query_status().status} at the target,", end=" ")
        print(f"its bitmap marks {moved.count} bytes")
        if moved.count != count:
            sys.exit(f"it marked {count} at the source")
    if not images[0].compare(images[1]).is_equal:
        sys.exit("the disk is another at the target")
    print("Verified: the images are equal.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="blocksdk-example-") as folder:
        try:
            main(Path(folder))
        except BlockSdkError as error:
            sys.exit(f"storage_migration: {error}")
