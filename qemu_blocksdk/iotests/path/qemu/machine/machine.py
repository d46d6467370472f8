"""The same, where the newer revision has it."""

from qemu_blocksdk.iotests.machine import AbnormalShutdown as AbnormalShutdown
