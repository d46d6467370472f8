"""What a user gets wrong in composing options: each marked line is red, with that message."""

from qemu_blocksdk.blockdev import File, Qcow2

disk = Qcow2(node_name="disk", file=File(filename="a"))
disk.with_(discard="trim")  # error: Argument "discard" to "with_" of "Qcow2" has incompatible type "Literal['trim']"; expected "Literal['ignore', 'unmap'] | None"
disk.with_(filename="b")  # error: Unexpected keyword argument "filename" for "with_" of "Qcow2"
disk.with_(file=None)  # error: Argument "file" to "with_" of "Qcow2" has incompatible type "None"
disk.cached("off")  # error: Argument 1 to "cached" of "DriverOptions" has incompatible type "Literal['off']"
disk.throttled(3)  # error: Argument 1 to "throttled" of "DriverOptions" has incompatible type "int"; expected "str"
File(filename="a").over("b")  # error: "File" has no attribute "over"
