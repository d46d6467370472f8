"""What ``import iotests`` finds: the drop-in, under the name that scripts use."""

import sys

from qemu_blocksdk.iotests import face

sys.modules[__name__] = face
