"""Block device options: one class a driver (``Qcow2``, ``File``, ``Nbd``, ...), and their parts.

The classes come from QEMU's schema; combine them by nesting or by node name, and hand
the outermost to ``add_node``.
"""

from qemu_blocksdk.codec import NULL as NULL
from qemu_blocksdk.wire.blockdev import *  # noqa: F403

from .checking import check as check
from .explaining import explain as explain
from .python import to_python as to_python
