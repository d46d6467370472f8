"""How exports are reached depends on their kind, and the type says so."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from qemu_blocksdk import Bitmap, Export, FileExport, Node, StorageDaemon, UriExport
from qemu_blocksdk.aio import AsyncNode, AsyncStorageDaemon, AsyncUriExport
from qemu_blocksdk.tools import NbdUri, TlsX509
from qemu_blocksdk.wire import BlockDirtyBitmap, ObjectOptionsAuthzSimple


def blocking(daemon: StorageDaemon, node: Node, bitmap: Bitmap) -> None:
    tls = TlsX509(directory="certificates")
    authz = ObjectOptionsAuthzSimple(id="a", identity="CN=client")
    with daemon.start_nbd_server(("localhost", 0), tls=tls, tls_authz=authz) as server:
        export = server.export(
            node, bitmaps=[bitmap, "name", BlockDirtyBitmap(node="other", name="b")], writable=True
        )
        assert_type(export, UriExport)
        assert_type(export.uri, NbdUri)
    with daemon.export_fuse(node, mountpoint="disk", allow_other="auto") as file:
        assert_type(file, FileExport)
        assert_type(file.path, Path)
    assert_type(daemon.export_vhost_user_blk(node, num_queues=2, iothread="io0").path, Path)
    assert_type(daemon.query_exports(), list[Export])


async def awaitable(daemon: AsyncStorageDaemon, node: AsyncNode) -> None:
    server = await daemon.start_nbd_server(max_connections=1)
    assert_type(await server.export(node), AsyncUriExport)
