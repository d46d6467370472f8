"""What scripts catch or name of QMP, as both revisions have it; the rest is the library's."""

from pkgutil import extend_path

from qemu_blocksdk.errors import BlockSdkError as QMPError
from qemu_blocksdk.errors import DeadlineExceeded as QMPTimeoutError
from qemu_blocksdk.errors import LaunchError as QMPConnectError
from qemu_blocksdk.iotests.machine import Message as QMPMessage
from qemu_blocksdk.iotests.machine import QMPResponseError

__path__ = extend_path(__path__, __name__)
__all__ = ["QMPConnectError", "QMPError", "QMPMessage", "QMPResponseError", "QMPTimeoutError"]
