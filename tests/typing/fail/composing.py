"""What a user gets wrong in composing options: each marked line is red, with that message."""

from qemu_blocksdk.blockdev import File, Qcow2

disk = Qcow2(node_name="disk", file=File(filename="a"))
disk.evolve(discard="trim")  # error: Argument "discard" to "evolve" of "Qcow2" has incompatible type "Literal['trim']"; expected "Literal['ignore', 'unmap'] | None"
disk.evolve(filename="b")  # error: Unexpected keyword argument "filename" for "evolve" of "Qcow2"
disk.evolve(file=None)  # error: Argument "file" to "evolve" of "Qcow2" has incompatible type "None"
disk.cached("off")  # error: Argument 1 to "cached" of "DriverOptions" has incompatible type "Literal['off']"
disk.throttled(3)  # error: Argument 1 to "throttled" of "DriverOptions" has incompatible type "int"; expected "str"
File(filename="a").with_backing("b")  # error: "File" has no attribute "with_backing"
