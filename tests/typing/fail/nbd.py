"""What is wrong with a server of qemu-nbd: each marked line is red, and no other."""

from qemu_blocksdk import Image, NbdServer
from qemu_blocksdk.tools import NbdUri

image = Image("disk.qcow2", format="qcow2")
NbdServer("disk.qcow2")  # error: Argument 1 to "NbdServer" has incompatible type "str"; expected "Image[str]"
NbdServer(image, shraed=2)  # error: Unexpected keyword argument "shraed" for "NbdServer"
NbdServer(image, bitmaps=3)  # error: Argument "bitmaps" to "NbdServer" has incompatible type "int"; expected "Sequence[str]"
NbdServer(image, cache="off")  # error: Argument "cache" to "NbdServer" has incompatible type "Literal['off']"
NbdUri(address=10809)  # error: Argument "address" to "NbdUri" has incompatible type "int"
