"""Options of another format than the image's: each marked line is red, and no other."""

from qemu_blocksdk import Image
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.tools import CreateQcow2, CreateRaw
from qemu_blocksdk.tools.amendment import AmendQcow2

Image("x", format="raw").create("1G", CreateQcow2())  # error: Argument 2 to "create" of "Image" has incompatible type "CreateQcow2"; expected "Creation[Literal['raw']] | None"
Image("x", format="qcow2").create("1G", CreateRaw())  # error: Argument 2 to "create" of "Image" has incompatible type "CreateRaw"; expected "Creation[Literal['qcow2']] | None"
Image("x", format="dmg").create("1G", CreateRaw())  # error: Argument 2 to "create" of "Image" has incompatible type "CreateRaw"; expected "Creation[Literal['dmg']] | None"
Image("x", format="raw").create("1G", AmendQcow2())  # error: Argument 2 to "create" of "Image" has incompatible type "AmendQcow2"; expected "Creation[Literal['raw']] | None"
Image("x", format="raw").amend(AmendQcow2())  # error: Argument 1 to "amend" of "Image" has incompatible type "AmendQcow2"; expected "Amendment[Literal['raw']]"
Image("x", format="rw")  # error: Value of type variable "FormatT" of "Image" cannot be "Literal['rw']"
Image("x")  # error: Missing named argument "format" for "Image"


async def awaitable() -> None:
    await AsyncImage("x", format="raw").create("1G", CreateQcow2())  # error: Argument 2 to "create" of "AsyncImage" has incompatible type "CreateQcow2"
