"""What ``check`` refuses of a driver, QEMU refuses as well; what is just within, QEMU takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qemu_blocksdk import StorageDaemon
from qemu_blocksdk.blockdev import (
    BlockdevOptions,
    File,
    Http,
    Nbd,
    NullAio,
    NullCo,
    Qcow2,
    Quorum,
    Raw,
    Replication,
    Vvfat,
    check,
)
from qemu_blocksdk.blockdev import Blklogwrites as Log
from qemu_blocksdk.errors import BlockSdkError, Unsupported, UsageError
from qemu_blocksdk.wire import BlockdevAdd, InetSocketAddress, UnixSocketAddress
