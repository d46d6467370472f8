"""The ``qemu.machine`` of scripts: machines, and the errors of their ends."""

from qemu_blocksdk.iotests.machine import AbnormalShutdown as AbnormalShutdown
from qemu_blocksdk.iotests.machine import QEMUMachine as QEMUMachine
from qemu_blocksdk.iotests.machine import QEMUMachineAddDeviceError as QEMUMachineAddDeviceError
from qemu_blocksdk.iotests.machine import QEMUMachineError as QEMUMachineError
