"""The ``qemu.qmp`` of scripts, as both revisions have it; the submodules are the library's."""

from pkgutil import extend_path
from typing import Any

from qemu_blocksdk.errors import BlockSdkError as QMPError
from qemu_blocksdk.errors import ConnectionLost as QMPCapabilitiesError
from qemu_blocksdk.errors import DeadlineExceeded as QMPTimeoutError
from qemu_blocksdk.errors import LaunchError as QMPConnectError
from qemu_blocksdk.iotests.machine import Message as QMPMessage
from qemu_blocksdk.iotests.machine import QMPResponseError
from qemu_blocksdk.iotests.protocols import Address as SocketAddrT
from qemu_blocksdk.iotests.protocols import (
    QEMUMonitorProtocol,
    QMPBadPortError,
    QMPProtocolError,
)

QMPReturnValue = Any
QMPObject = dict[str, Any]
InternetAddrT = tuple[str, int]
UnixAddrT = str

__path__ = extend_path(__path__, __name__)
__all__ = [
    "InternetAddrT",
    "QEMUMonitorProtocol",
    "QMPBadPortError",
    "QMPCapabilitiesError",
    "QMPConnectError",
    "QMPError",
    "QMPMessage",
    "QMPObject",
    "QMPProtocolError",
    "QMPResponseError",
    "QMPReturnValue",
    "QMPTimeoutError",
    "SocketAddrT",
    "UnixAddrT",
]
