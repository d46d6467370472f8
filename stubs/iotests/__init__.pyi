"""What a script that says ``import iotests`` finds: the drop-in, whose types are in its source."""

from qemu_blocksdk.iotests.face import *
from qemu_blocksdk.iotests.face import __all__ as __all__
