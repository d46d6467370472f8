"""Block device options: one class a driver (``Qcow2``, ``File``, ``Nbd``, ...), and their parts.

The classes come from QEMU's schema; combine them by nesting, by node name or by their methods
(``with_backing``, ``throttled``, ``evolve``, ...), and hand the outermost to ``add_node``.
"""

from qemu_blocksdk.codec import NULL as NULL
from qemu_blocksdk.wire import BlockDirtyBitmap as BlockDirtyBitmap
from qemu_blocksdk.wire import BlockPermission as BlockPermission
from qemu_blocksdk.wire import InetSocketAddress as InetSocketAddress
from qemu_blocksdk.wire import InetSocketAddressBase as InetSocketAddressBase
from qemu_blocksdk.wire import OnOffAuto as OnOffAuto
from qemu_blocksdk.wire import SocketAddress as SocketAddress
from qemu_blocksdk.wire import SocketAddressFd as SocketAddressFd
from qemu_blocksdk.wire import SocketAddressInet as SocketAddressInet
from qemu_blocksdk.wire import SocketAddressUnix as SocketAddressUnix
from qemu_blocksdk.wire import SocketAddressVsock as SocketAddressVsock
from qemu_blocksdk.wire.blockdev import *  # noqa: F403

from .chains import chain as chain
from .chains import quorum as quorum
from .checking import check as check
from .drive import Drive as Drive
from .drive import from_drive as from_drive
from .drive import to_drive as to_drive
from .explaining import explain as explain
from .forms import flatten as flatten
from .forms import from_blockdev as from_blockdev
from .forms import from_filename as from_filename
from .forms import from_image_opts as from_image_opts
from .forms import from_json as from_json
from .forms import to_blockdev as to_blockdev
from .forms import to_filename as to_filename
from .forms import to_image_opts as to_image_opts
from .forms import to_json as to_json
from .forms import to_opts as to_opts
from .python import to_python as to_python
