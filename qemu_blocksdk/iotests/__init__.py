"""Scripts for QEMU's iotests.py, over this package."""

from typing import Final

ACCELERATOR_VARIABLE: Final = "QEMU_BLOCKSDK_ACCELERATOR"
"""By which the runner tells scripts the accelerator, so that none has to start a QEMU to ask."""
