"""What a script that catches a VM's abnormal end imports beside ``iotests``."""

from qemu_blocksdk.iotests.machine import AbnormalShutdown as AbnormalShutdown
