"""Names that packages which load on first use do not have."""

from qemu_blocksdk import Storagedaemon  # error: Module "qemu_blocksdk" has no attribute "Storagedaemon"
from qemu_blocksdk.testing import Goldens  # error: Module "qemu_blocksdk.testing" has no attribute "Goldens"
from qemu_blocksdk.tools import Program  # error: Module "qemu_blocksdk.tools" has no attribute "Program"
