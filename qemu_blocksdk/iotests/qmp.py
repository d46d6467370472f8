"""The ``qemu.qmp`` of both revisions, as far as scripts know it: what they catch."""

from qemu_blocksdk.errors import BlockSdkError as QMPError
from qemu_blocksdk.errors import DeadlineExceeded as QMPTimeoutError
from qemu_blocksdk.errors import LaunchError as QMPConnectError

from .machine import QMPResponseError

__all__ = ["QMPConnectError", "QMPError", "QMPResponseError", "QMPTimeoutError"]
