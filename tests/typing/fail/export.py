"""Exports that are asked for what they have not: each marked line is red, and no other is."""

from qemu_blocksdk import ExportServer, Node, StorageDaemon
from qemu_blocksdk.wire import ObjectOptionsSecret


def blocking(daemon: StorageDaemon, server: ExportServer, node: Node) -> None:
    server.export(node).path  # error: "UriExport" has no attribute "path"
    daemon.export_fuse(node, mountpoint="disk").uri  # error: "FileExport" has no attribute "uri"
    daemon.query_exports()[0].uri  # error: "Export" has no attribute "uri"
    daemon.export_fuse(node)  # error: Missing named argument "mountpoint" for "export_fuse" of "BlockLayer"
    daemon.export_fuse(node, mountpoint="disk", allow_other=True)  # error: Argument "allow_other" to "export_fuse" of "BlockLayer" has incompatible type
    server.export(node, name="disk", read_only=True)  # error: Unexpected keyword argument "read_only" for "export" of "ExportServer"
    server.export(node, bitmaps=[1])  # error: List item 0 has incompatible type "int"; expected "Bitmap |
    server.export("disk")  # error: Argument 1 to "export" of "ExportServer" has incompatible type "str"; expected "Node"
    daemon.start_nbd_server(tls_authz=ObjectOptionsSecret(id="s"))  # error: Argument "tls_authz" to "start_nbd_server" of "BlockLayer" has incompatible type "ObjectOptionsSecret"
