"""Draw the block graph before, during and after a mirror that a guest is switched over by.

Prints trees, and what differs. Into a folder that is its argument it writes SVGs (Graphviz
needed): `python examples/mirror_graph.py docs/graph` wrote those of the guide.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

from qemu_blocksdk import VM, Image
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.tools import svg


def options(name: str, backing: str | None = None) -> Qcow2:
    file = File(node_name=f"{name}-file", filename=f"{name}.qcow2")
    return Qcow2(node_name=name, file=file, backing=backing, read_only=backing is None)


def mirrored() -> tuple[BlockGraph, BlockGraph, BlockGraph]:
    """Return the graph before, when the mirror is ready, and after the switch."""
    base = Image("base.qcow2", format="qcow2")
    base.create("16M")
    for name in ("disk", "copy"):
        Image(f"{name}.qcow2", format="qcow2").create(backing=base)
    with VM(args=["-m", "64"]) as vm:
        vm.add_node(options("base"))
        disk, copy = (vm.add_node(options(name, backing="base")) for name in ("disk", "copy"))
        with vm.plug(disk, device="virtio-scsi", id="guest-disk"):
            before = vm.graph()
            with disk.start_mirror(
                copy, sync="top", job_id="mirror", filter_node_name="top"
            ) as job:
                job.wait(until="ready", timeout=30)
                during = vm.graph()
                job.run(timeout=30)
            return before, during, vm.graph()


def main(folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="blocksdk-example-") as work, contextlib.chdir(work):
        before, during, after = mirrored()
    drawn = {
        "before": before,
        "during": during,
        "after": after,
        "begun": before.diff(during),
        "switched": during.diff(after),
    }
    for name, picture in drawn.items():
        print(f"-- {name}\n{picture.draw()}\n")
        if folder is not None:
            (folder / f"{name}.svg").write_text(svg(picture.dot(permissions=True)))
    print(before.diff(after))

    if after["guest-disk"].child("root").name != "copy":
        sys.exit("the guest is not on the copy")
    after.assert_path("copy", "/backing/file", "base-file")
    print("Verified: the guest's disk is the copy now, on the same base.")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute() if sys.argv[1:] else None)
    except BlockSdkError as error:
        sys.exit(f"mirror_graph: {error}")
