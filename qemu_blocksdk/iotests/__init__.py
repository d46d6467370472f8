"""Scripts for QEMU's iotests.py, over this package."""
