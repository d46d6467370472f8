"""Scripts for QEMU's iotests.py, over this package."""

from typing import Final

ACCELERATOR_VARIABLE: Final = "QEMU_BLOCKSDK_ACCELERATOR"
"""By which the runner tells scripts the accelerator, so that none has to start a QEMU to ask."""
RESULTS_VARIABLE: Final = "QEMU_BLOCKSDK_RESULTS"
"""Where unittest's results come: ``last``, as in the older revision, or ``first``, as in the newer.

Without it, the reference output beside the script decides.
"""
