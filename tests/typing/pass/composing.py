"""What composing options gives: the same driver's, or the filter's."""

from typing import assert_type

from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevOptions,
    CopyBeforeWrite,
    File,
    Qcow2,
    Throttle,
    check,
)
from qemu_blocksdk.codec import JsonValue

disk = Qcow2(node_name="disk", file=File(filename="a"))
assert_type(disk.evolve(discard="unmap", backing=NULL, node_name=None), Qcow2)
assert_type(disk.named("other").as_read_only().cached("none").with_backing("base"), Qcow2)
assert_type(disk.throttled("group"), Throttle)
assert_type(disk.copy_before_write("target").evolve(on_cbw_error="break-snapshot"), CopyBeforeWrite)
assert_type(check(disk, qemu="7.2"), dict[str, JsonValue])


def hardened(options: BlockdevOptions) -> BlockdevOptions:
    """Any driver's options take the members that all have."""
    return options.evolve(detect_zeroes="unmap", discard="unmap").as_read_only()
