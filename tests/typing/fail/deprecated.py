"""A command that QEMU deprecates is shown so by a checker that looks for it."""

from qemu_blocksdk.wire import NbdServerAdd  # error: class qemu_blocksdk.wire.export.NbdServerAdd is deprecated

NbdServerAdd(device="disk")
