"""What exports nodes: the part of a running QEMU that other programs reach."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Unpack

from qemu_blocksdk.tools.nbd import NbdAddress
from qemu_blocksdk.tools.run import as_file
from qemu_blocksdk.wire import (
    BlockExportOptionsFuse,
    BlockExportOptionsVduseBlk,
    BlockExportOptionsVhostUserBlk,
    FuseExportAllowOther,
    QueryBlockExports,
    SocketAddressUnix,
)

from .export import AsyncExport, AsyncFileExport, ExportOptions
from .export_server import AsyncExportServer, ExportServerOptions
from .live import Live
from .names import temporary_name
from .node import AsyncNode
from .traces import Traces

_ByFile = BlockExportOptionsFuse | BlockExportOptionsVhostUserBlk | BlockExportOptionsVduseBlk


class Exporting(Live):
    """The exports of a QEMU and its NBD server."""

    @cached_property
    def _traces(self) -> Traces:
        return Traces()

    async def start_nbd_server(
        self, address: NbdAddress | None = None, **options: Unpack[ExportServerOptions]
    ) -> AsyncExportServer:
        """Start QEMU's NBD server (``nbd-server-start``), of which it has one at a time.

        ``address`` is a unix socket's path, or a TCP host and port (0: one that is free, on
        this machine); by default a unix socket in a directory of our own. The rest is in
        :class:`~qemu_blocksdk.objects.ExportServerOptions`. Raises UsageError for a path that
        is too long or taken and for names to admit without x509 credentials that verify them,
        CommandError when a server runs already, for a TCP port in use and for credentials that
        QEMU cannot load, Unsupported.
        """
        return await AsyncExportServer._start(self, address, self._traces, options)

    async def export_fuse(
        self,
        node: AsyncNode,
        *,
        mountpoint: str | os.PathLike[str],
        growable: bool | None = None,
        allow_other: FuseExportAllowOther | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncFileExport:
        """Mount a node as a raw image over a regular file (``block-export-add``, FUSE).

        Writes beyond its end enlarge the node, to a multiple of 512 bytes, where it is
        ``growable`` (False). Other users may open it with ``allow_other`` (``auto``: where the
        system lets them). The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises
        CommandError when there is no such file, an export is mounted there or the machine does
        not let QEMU mount; Unsupported.
        """
        wire = BlockExportOptionsFuse(
            id=self._new_id(id),
            node_name=node.name,
            mountpoint=_resolved(mountpoint),
            growable=growable,
            allow_other=allow_other,
            **options,
        )
        return await self._file_export(wire, node, path=wire.mountpoint)

    async def export_vhost_user_blk(
        self,
        node: AsyncNode,
        *,
        address: str | os.PathLike[str] | None = None,
        num_queues: int | None = None,
        logical_block_size: int | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncFileExport:
        """Export a node as a vhost-user-blk device (``block-export-add``), for one VM at a time.

        ``address`` is a unix socket's path; by default one in a directory of our own. The device
        has ``num_queues`` (1) virtqueues and blocks of ``logical_block_size`` bytes (512), a
        power of two. The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises
        UsageError for a path that is too long or taken, CommandError, Unsupported.
        """
        self._connection()  # else nobody removes the directory that is made now
        export_id = self._new_id(id)
        path = self._traces.new_socket(address, name=f"{export_id}.sock")
        wire = BlockExportOptionsVhostUserBlk(
            id=export_id,
            node_name=node.name,
            addr=SocketAddressUnix(path=path),
            num_queues=num_queues,
            logical_block_size=logical_block_size,
            **options,
        )
        return await self._file_export(wire, node, path=path)

    async def export_vduse_blk(
        self,
        node: AsyncNode,
        *,
        name: str,
        num_queues: int | None = None,
        queue_size: int | None = None,
        logical_block_size: int | None = None,
        serial: str | None = None,
        id: str | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncFileExport:
        """Export a node as a VDUSE device ``name`` of this machine (``block-export-add``).

        It has ``num_queues`` (1) virtqueues of ``queue_size`` (256) and blocks of
        ``logical_block_size`` bytes (512). To use it, attach it to the vDPA bus (``vdpa dev
        add``). The rest is in :class:`~qemu_blocksdk.objects.ExportOptions`. Raises CommandError
        where the kernel has no VDUSE or a device of that name, Unsupported.
        """
        wire = BlockExportOptionsVduseBlk(
            id=self._new_id(id),
            node_name=node.name,
            name=name,
            num_queues=num_queues,
            queue_size=queue_size,
            logical_block_size=logical_block_size,
            serial=serial,
            **options,
        )
        return await self._file_export(wire, node, path=f"/dev/vduse/{name}")

    async def _file_export(
        self,
        options: BlockExportOptionsFuse
        | BlockExportOptionsVhostUserBlk
        | BlockExportOptionsVduseBlk,
        node: AsyncNode,
        *,
        path: str,
    ) -> AsyncFileExport:
        export = AsyncFileExport(
            self._connection(), options.id, options.type, node, path=path, traces=self._traces
        )
        return await export._added_by(self, options)

    def _new_id(self, id: str | None) -> str:
        return id if id is not None else temporary_name(self._connection())

    async def query_exports(self) -> list[AsyncExport]:
        """Return every export there is, whoever added it (``query-block-exports``)."""
        qmp = self._connection()
        listening = [
            AsyncExport(qmp, info.id, info.type, AsyncNode(qmp, info.node_name))
            for info in await self._execute(QueryBlockExports())
        ]
        # One may have gone before anybody listened.
        there = {info.id for info in await self._execute(QueryBlockExports())}
        return [export for export in listening if export.id in there]


def _resolved(path: str | os.PathLike[str]) -> str:
    """Return the path under which the kernel will know the mount."""
    return str(Path(as_file(path)).resolve())
