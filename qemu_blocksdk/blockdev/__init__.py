"""Block device options: one class a driver (``Qcow2``, ``File``, ``Nbd``, ...), and their parts.

The classes come from QEMU's schema; combine them by nesting, by node name or by their methods
(``over``, ``throttled``, ``with_``, ...), and hand the outermost to ``add_node``.
"""

from qemu_blocksdk.codec import NULL as NULL
from qemu_blocksdk.wire import BlockDirtyBitmap as BlockDirtyBitmap
from qemu_blocksdk.wire import BlockPermission as BlockPermission
from qemu_blocksdk.wire import OnOffAuto as OnOffAuto
from qemu_blocksdk.wire import SocketAddress as SocketAddress
from qemu_blocksdk.wire import SocketAddressFd as SocketAddressFd
from qemu_blocksdk.wire import SocketAddressInet as SocketAddressInet
from qemu_blocksdk.wire import SocketAddressUnix as SocketAddressUnix
from qemu_blocksdk.wire import SocketAddressVsock as SocketAddressVsock
from qemu_blocksdk.wire.blockdev import *  # noqa: F403

from .checking import check as check
from .explaining import explain as explain
from .python import to_python as to_python
