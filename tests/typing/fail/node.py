"""What is wrong with the verbs of a node: each marked line is red, and no other."""

from qemu_blocksdk import Node
from qemu_blocksdk.objects import JobOptions


def wrong(node: Node) -> None:
    node.backup("target")  # error: Argument 1 to "backup" of "Node" has incompatible type "str"; expected "Node"
    node.backup(node, sped=1)  # error: Unexpected keyword argument "sped" for "backup" of "Node"
    node.mirror(node, speed="fast")  # error: Argument "speed" to "mirror" of "Node" has incompatible type "str"
    node.mirror(node, sync="all")  # error: Argument "sync" to "mirror" of "Node" has incompatible type
    node.commit(base="base")  # error: Argument "base" to "commit" of "Node" has incompatible type "str"
    node.set_active("yes")  # error: Argument 1 to "set_active" of "Node" has incompatible type "str"; expected "bool"
    node.io.read("0", 512)  # error: Argument 1 to "read" of "NodeIo" has incompatible type "str"; expected "int"
    options: JobOptions = {"autofinalize": True}  # error: Extra key "autofinalize" for TypedDict "JobOptions"
