"""A server of qemu-nbd: its options by name, its exports as values."""

from collections.abc import Sequence
from typing import assert_type

from qemu_blocksdk import Image, NbdDaemon, NbdServer
from qemu_blocksdk.tools import NbdExport, NbdUri, TlsPsk

image = Image("disk.qcow2", format="qcow2")
with NbdServer(image, export_name="disk", cache="none", tls=TlsPsk(directory="keys")) as server:
    assert_type(server.uri, NbdUri)
    assert_type(NbdServer.list_exports(server.uri), Sequence[NbdExport])
assert_type(NbdServer(image, address=("localhost", 10809)).fork(), NbdDaemon)
