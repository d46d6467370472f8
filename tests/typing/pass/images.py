"""Images of a format that type checkers know, and of any."""

from typing import Literal, assert_type

from qemu_blocksdk import Image
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.tools import CreateQcow2, CreateRaw
from qemu_blocksdk.tools.amendment import AmendQcow2
from qemu_blocksdk.tools.creation import CreationOptions, ImageFormat

raw = Image("disk", format="raw")
assert_type(raw, Image[Literal["raw"]])
raw.create("1G", CreateRaw(preallocation="full"))
raw.create("1G")
Image("disk.qcow2", format="qcow2").create("1G", CreateQcow2(cluster_size="2M"))
Image("disk.qcow2", format="qcow2").amend(AmendQcow2(compat="1.1"))
assert_type(Image.at_uri("nbd://localhost"), Image[str])


def create(image: Image, options: CreationOptions) -> None:
    """A bare ``Image`` is one of any format."""
    image.create("1G", options)
    image.create("1G", CreateQcow2())


create(raw, CreateRaw())
images = [raw, Image("disk.qcow2", format="qcow2")]
create(images[0], CreateRaw())
for each in images:
    create(each, CreateRaw())


def of_format(format: ImageFormat) -> Image:
    return Image("disk", format=format)


of_format("vdi").create("1G", CreateRaw())  # nobody knows: refused at run time


class Disk:
    """One that has an image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.image = Image("other", format="luks")


async def awaitable() -> None:
    image = AsyncImage("disk", format="qcow2")
    assert_type(image, AsyncImage[Literal["qcow2"]])
    await image.create("1G", CreateQcow2())
