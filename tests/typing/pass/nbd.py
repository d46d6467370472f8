"""A server of qemu-nbd: its options by name, its exports as values."""

from collections.abc import Sequence
from typing import assert_type

from qemu_blocksdk import NbdDaemon, NbdServer
from qemu_blocksdk.tools import NbdExport, NbdUri, TlsPsk
from qemu_blocksdk.tools.target import Target

image = Target.of_file("disk.qcow2", "qcow2")
with NbdServer(image, export_name="disk", cache="none", tls=TlsPsk(directory="keys")) as server:
    assert_type(server.uri, NbdUri)
    assert_type(NbdServer.list_exports(server.uri), Sequence[NbdExport])
assert_type(NbdServer(image, address=("localhost", 10809)).fork(), NbdDaemon)
