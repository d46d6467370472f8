"""Types of the fixtures that are factories, to annotate the arguments of tests."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, Unpack

if TYPE_CHECKING:
    from qemu_blocksdk import VM, Image, NbdServer, Node, StorageDaemon
    from qemu_blocksdk.aio import (
        AsyncImage,
        AsyncNbdServer,
        AsyncNode,
        AsyncStorageDaemon,
        AsyncVM,
    )
    from qemu_blocksdk.blocking import Qemu
    from qemu_blocksdk.objects import AsyncQemu
    from qemu_blocksdk.tools import ImageFormat
    from qemu_blocksdk.tools.creation import CreationOptions

    from .machines import ServerOptions, StorageDaemonOptions, VmOptions


class ImageFactory(Protocol):
    """The fixture ``image``."""

    def __call__(
        self,
        name: str,
        size: int | str | None = None,
        *,
        options: CreationOptions | None = None,
        backing: Image | None = None,
        format: ImageFormat | None = None,
    ) -> Image:
        """Create an image; see :meth:`Images.create`."""
        ...


class AsyncImageFactory(Protocol):
    """The fixture ``async_image``."""

    async def __call__(
        self,
        name: str,
        size: int | str | None = None,
        *,
        options: CreationOptions | None = None,
        backing: AsyncImage | None = None,
        format: ImageFormat | None = None,
    ) -> AsyncImage:
        """Create an image; see :meth:`AsyncImages.create`."""
        ...


class NodeFactory(Protocol):
    """The fixture ``add_image``."""

    def __call__(self, qemu: Qemu, image: Image, *, node_name: str) -> Node:
        """Open an image in a QEMU; see :meth:`Images.add`."""
        ...


class AsyncNodeFactory(Protocol):
    """The fixture ``async_add_image``."""

    async def __call__(self, qemu: AsyncQemu, image: AsyncImage, *, node_name: str) -> AsyncNode:
        """Open an image in a QEMU; see :meth:`AsyncImages.add`."""
        ...


class VmFactory(Protocol):
    """The fixture ``vm_factory``."""

    def __call__(self, **options: Unpack[VmOptions]) -> VM:
        """Start a VM."""
        ...


class StorageDaemonFactory(Protocol):
    """The fixture ``storage_daemon_factory``."""

    def __call__(self, **options: Unpack[StorageDaemonOptions]) -> StorageDaemon:
        """Start a storage daemon."""
        ...


class NbdServerFactory(Protocol):
    """The fixture ``nbd_server``."""

    def __call__(self, image: Image, **options: Unpack[ServerOptions]) -> NbdServer:
        """Start a ``qemu-nbd`` that serves an image."""
        ...


class AsyncVmFactory(Protocol):
    """The fixture ``async_vm``."""

    def __call__(self, **options: Unpack[VmOptions]) -> AbstractAsyncContextManager[AsyncVM]:
        """Return a VM that runs for the time of an ``async with`` block."""
        ...


class AsyncStorageDaemonFactory(Protocol):
    """The fixture ``async_storage_daemon``."""

    def __call__(
        self, **options: Unpack[StorageDaemonOptions]
    ) -> AbstractAsyncContextManager[AsyncStorageDaemon]:
        """Return a storage daemon that runs for the time of an ``async with`` block."""
        ...


class AsyncNbdServerFactory(Protocol):
    """The fixture ``async_nbd_server``."""

    def __call__(
        self, image: Image | AsyncImage, **options: Unpack[ServerOptions]
    ) -> AbstractAsyncContextManager[AsyncNbdServer]:
        """Return a ``qemu-nbd`` that serves an image for the time of an ``async with`` block."""
        ...
