"""The ``qemu.qtest`` of scripts for the older revision."""

from qemu_blocksdk.iotests.machine import QEMUQtestMachine as QEMUQtestMachine
from qemu_blocksdk.iotests.protocols import QEMUQtestProtocol as QEMUQtestProtocol
