"""Making nodes reachable for other programs over NBD."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from typing import Literal, Self

from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.qmp import AsyncQmp, finish
from qemu_blocksdk.qmp.resource import Resource
from qemu_blocksdk.tools.nbd import NbdAddress, NbdUri
from qemu_blocksdk.wire import (
    BlockExportAdd,
    BlockExportDel,
    BlockExportDeleted,
    BlockExportOptionsNbd,
    InetSocketAddress,
    NbdServerStart,
    NbdServerStop,
    SocketAddressLegacy,
    SocketAddressLegacyInet,
    SocketAddressLegacyUnix,
    UnixSocketAddress,
)

from .image import AsyncImage
from .live import Live
from .node import AsyncNode
from .qemu_io import AsyncQemuIo

_ids = itertools.count()


class AsyncExportServer(Live, Resource):
    """The NBD server of one QEMU; leaving the block stops it."""

    def __init__(self, qmp: AsyncQmp, address: NbdAddress) -> None:
        self._qmp = qmp
        self._address = address

    @classmethod
    async def start(cls, qmp: AsyncQmp, address: NbdAddress) -> Self:
        """Start the server (``nbd-server-start``); see :meth:`AsyncQemu.start_nbd_server`."""
        listen: SocketAddressLegacy
        if isinstance(address, tuple):
            host, port = address
            listen = SocketAddressLegacyInet(data=InetSocketAddress(host=host, port=str(port)))
        else:
            listen = SocketAddressLegacyUnix(data=UnixSocketAddress(path=os.fspath(address)))
        await qmp.execute(NbdServerStart(addr=listen))
        return cls(qmp, address)

    @property
    def address(self) -> NbdAddress:
        """Where the server listens."""
        return self._address

    async def export(
        self,
        node: AsyncNode,
        *,
        name: str | None = None,
        writable: bool = False,
        description: str | None = None,
        bitmaps: Sequence[str] | None = None,
    ) -> AsyncExport:
        """Export a node (``block-export-add``) under ``name``, by default the node's."""
        export_id = f"export-{next(_ids)}"
        options = BlockExportOptionsNbd(
            id=export_id,
            node_name=node.name,
            name=name,
            writable=writable,
            description=description,
            bitmaps=bitmaps,
        )
        await self._execute(BlockExportAdd(options=options))
        address = self._address if isinstance(self._address, tuple) else os.fspath(self._address)
        uri = NbdUri(address=address, export=name or node.name)
        return AsyncExport(self._qmp, export_id, uri)

    async def stop(self) -> None:
        """Stop the server and end its connections (``nbd-server-stop``)."""
        await self._execute(NbdServerStop())

    async def _leave(self, error: BaseException | None) -> None:
        with contextlib.suppress(BlockSdkError):
            await finish(self.stop())


class AsyncExport(Live, Resource):
    """An export of a node; leaving the block removes it."""

    def __init__(self, qmp: AsyncQmp, export_id: str, uri: NbdUri) -> None:
        self._qmp = qmp
        self._id = export_id
        self._uri = uri

    @property
    def id(self) -> str:
        """The export's id in QEMU."""
        return self._id

    @property
    def uri(self) -> NbdUri:
        """Where clients reach the export."""
        return self._uri

    async def write(self, offset: int, length: int, *, pattern: int = 0xCD) -> None:
        """Write ``length`` bytes of ``pattern`` (0 to 255) at ``offset``, as an NBD client.

        Runs ``qemu-io``; as :meth:`AsyncQemuIo.write`.
        """
        async with AsyncQemuIo(AsyncImage.at_uri(self._uri)) as io:
            await io.write(offset, length, pattern=pattern)

    async def delete(
        self, *, mode: Literal["safe", "hard"] = "safe", timeout: float = 10.0
    ) -> None:
        """Remove the export (``block-export-del``) and wait until it is gone.

        ``safe`` refuses while a client is connected, ``hard`` disconnects it. Raises
        CommandError, DeadlineExceeded.
        """
        async with self._qmp.events(BlockExportDeleted, id=self._id) as events:
            await self._execute(BlockExportDel(id=self._id, mode=mode))
            await events.get(timeout=timeout)

    async def _leave(self, error: BaseException | None) -> None:
        with contextlib.suppress(BlockSdkError):
            await finish(self.delete(mode="hard"))

    def __repr__(self) -> str:
        return f"<export {self._id!r} at {self._uri}>"
