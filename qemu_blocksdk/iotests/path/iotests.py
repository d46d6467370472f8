"""What ``import iotests`` finds: the drop-in, under the name that scripts use."""

import importlib
import sys

from qemu_blocksdk.iotests import face

importlib.import_module("qemu.machine")  # which scripts find in `qemu` without importing it
sys.modules[__name__] = face
