"""Copy a disk image into qcow2, with a bar: SOURCE TARGET."""

import sys

from qemu_blocksdk import Image
from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.tools import CreateQcow2, ToolProgress


def draw(now: ToolProgress) -> None:
    """Draw a bar over the one before."""
    bar = ("#" * int(40 * now.fraction)).ljust(40, ".")
    print(f"\r[{bar}] {now.fraction:4.0%}, {now.elapsed:.1f} s ", end="", flush=True)


def main(source: str, target: str) -> None:
    found = Image.probe(source)
    if found.dangers:
        raise UsageError(f"{source} has {' and '.join(found.dangers)}")
    copy = Image(target, format="qcow2")
    Image(source, format=found.format).convert(
        copy, CreateQcow2(lazy_refcounts=True), on_progress=draw
    )
    info = copy.info()
    print(f"\n{target}: {info.virtual_size} bytes, {info.actual_size} on the disk")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BlockSdkError as error:
        sys.exit(f"convert: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing is left behind")
