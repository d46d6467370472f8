"""The images of one test: in its directory, with the format and secret of its environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from qemu_blocksdk import Image, Node
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.objects.binary_cache import binary_identity
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.sealed import sealed_class
from qemu_blocksdk.tools import CreateLuks, ImageFormat
from qemu_blocksdk.tools.image_options import image_options
from qemu_blocksdk.tools.size import to_bytes
from qemu_blocksdk.wire import File

from .env import TestEnv

if TYPE_CHECKING:
    from qemu_blocksdk.aio import AsyncNode
    from qemu_blocksdk.blocking import Qemu
    from qemu_blocksdk.objects import AsyncQemu
    from qemu_blocksdk.tools.creation import CreationOptions

_headers = dict[object, bytes]()


@sealed_class
class AsyncImages:
    """Creates images for one test and opens them in its QEMUs."""

    def __init__(self, env: TestEnv) -> None:
        self._env = env

    def __repr__(self) -> str:
        return f"<{self._env.imgfmt} images>"

    async def create(
        self,
        name: str,
        size: int | str | None = None,
        *,
        options: CreationOptions | None = None,
        backing: AsyncImage | None = None,
        format: ImageFormat | None = None,
    ) -> AsyncImage:
        """Create an image in the test's directory (``qemu-img create``).

        ``size`` is in bytes or as in ``"64M"``, by default that of ``backing``; ``format`` is by
        default the environment's. A luks image gets the environment's secret and shares its header
        with the other ones. Raises UsageError for a name with a directory; otherwise as
        :meth:`AsyncImage.create`.
        """
        if name in ("", "..") or name != Path(name).name:
            raise UsageError(f"{name!r} is no name of a file in the test's directory")
        made = format or cast("ImageFormat", self._env.imgfmt)
        image = AsyncImage(
            self._env.test_dir / name,
            format=made,
            secret=self._env.key_secret if made == "luks" else None,
            programs=self._env.programs,
        )
        if made == "luks" and options is None and backing is None and size is not None:
            await self._create_luks(image, to_bytes(size))
        else:
            await image.create(size, options, backing=backing)
        return image

    async def _create_luks(self, image: AsyncImage, size: int) -> None:
        """Create a luks image that has the header of the first one."""
        # QEMU 7.2 and 10.0: whatever its iter-time, it times the processor for 4 s for each header.
        kind = (
            binary_identity(self._env.programs.words("qemu_img")[0]),
            self._env.key_secret.reveal(),
        )
        if kind not in _headers:
            await image.create(0, CreateLuks(iter_time=0.01))
            _headers[kind] = image.path.read_bytes()
            image.path.unlink()
        with image.path.open("xb") as file:
            file.write(_headers[kind])
            file.truncate(len(_headers[kind]) + size)

    async def add(self, qemu: AsyncQemu, image: AsyncImage, *, node_name: str) -> AsyncNode:
        """Open an image in a QEMU as a node, with the environment's cache and aio mode.

        A luks image is opened with the environment's secret. Raises as ``add_node`` of the QEMU.
        """
        key = None
        if image.format == "luks":
            key = f"{node_name}-key"
            await qemu.add_secret(self._env.key_secret, id=key)
        file = File(filename=str(image.path), aio=self._env.aio_mode)
        options = image_options(file, format=image.format, key_secret=key)
        return await qemu.add_node(options.named(node_name).cached(self._env.cache_mode))


@sealed_class
class Images:
    """Like :class:`AsyncImages`, for blocking objects."""

    def __init__(self, env: TestEnv) -> None:
        self._async = AsyncImages(env)

    def __repr__(self) -> str:
        return repr(self._async)

    def create(
        self,
        name: str,
        size: int | str | None = None,
        *,
        options: CreationOptions | None = None,
        backing: Image | None = None,
        format: ImageFormat | None = None,
    ) -> Image:
        """Create an image, as :meth:`AsyncImages.create`."""
        below = None if backing is None else backing._async
        work = self._async.create(name, size, options=options, backing=below, format=format)
        return Image._of(background_loop.run(work))

    def add(self, qemu: Qemu, image: Image, *, node_name: str) -> Node:
        """Open an image in a QEMU as a node, as :meth:`AsyncImages.add`."""
        return Node._of(
            background_loop.run(self._async.add(qemu._async, image._async, node_name=node_name))
        )
