"""What ``import iotests`` finds: the drop-in, under the name that scripts use."""

import importlib
import sys

from qemu_blocksdk.iotests import face, qmp

importlib.import_module("qemu.machine")  # which scripts find in `qemu` without importing it
# Likewise, but no file of `path`: type checkers would take it for the package of that name.
sys.modules["qemu.qmp"] = vars(sys.modules["qemu"])["qmp"] = qmp
sys.modules[__name__] = face
