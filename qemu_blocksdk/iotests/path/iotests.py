"""What ``import iotests`` finds: the drop-in, under the name that scripts use."""

import importlib
import sys

from qemu_blocksdk.iotests import face

for name in ("qemu.machine", "qemu.qmp"):  # which scripts find in `qemu` without importing them
    importlib.import_module(name)
sys.modules[__name__] = face
