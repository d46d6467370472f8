"""The ``qemu.machine.qtest`` of scripts for the newer revision."""

from qemu_blocksdk.iotests.machine import QEMUQtestMachine as QEMUQtestMachine
from qemu_blocksdk.iotests.protocols import QEMUQtestProtocol as QEMUQtestProtocol
