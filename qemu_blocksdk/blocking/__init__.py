# Generated from qmp/, objects/ and recipes/ by `make generate`. Do not edit.
"""The blocking classes, each in its own module, which is loaded when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qemu_blocksdk.lazy import loader

if TYPE_CHECKING:
    from .backup import Backup
    from .bitmap import Bitmap
    from .block_layer import BlockLayer
    from .device import Device
    from .disk import Disk
    from .event_stream import EventStream
    from .export import Export
    from .export_server import ExportServer
    from .file_export import FileExport
    from .image import Image
    from .io_thread import IoThread
    from .job import Job
    from .migration import Migration
    from .nbd_daemon import NbdDaemon
    from .nbd_server import NbdServer
    from .node import Node
    from .node_io import NodeIo
    from .operation import Operation
    from .point_in_time import PointInTime
    from .process import Process
    from .qemu import Qemu
    from .qemu_io import QemuIo
    from .qmp import Qmp
    from .storage_daemon import StorageDaemon
    from .storage_migration import StorageMigration
    from .throttle_group import ThrottleGroup
    from .toolchain import Toolchain
    from .transaction import Transaction
    from .uri_export import UriExport
    from .vm import VM

__all__ = [
    "VM",
    "Backup",
    "Bitmap",
    "BlockLayer",
    "Device",
    "Disk",
    "EventStream",
    "Export",
    "ExportServer",
    "FileExport",
    "Image",
    "IoThread",
    "Job",
    "Migration",
    "NbdDaemon",
    "NbdServer",
    "Node",
    "NodeIo",
    "Operation",
    "PointInTime",
    "Process",
    "Qemu",
    "QemuIo",
    "Qmp",
    "StorageDaemon",
    "StorageMigration",
    "ThrottleGroup",
    "Toolchain",
    "Transaction",
    "UriExport",
]

_HOMES = {
    "VM": "vm",
    "Backup": "backup",
    "Bitmap": "bitmap",
    "BlockLayer": "block_layer",
    "Device": "device",
    "Disk": "disk",
    "EventStream": "event_stream",
    "Export": "export",
    "ExportServer": "export_server",
    "FileExport": "file_export",
    "Image": "image",
    "IoThread": "io_thread",
    "Job": "job",
    "Migration": "migration",
    "NbdDaemon": "nbd_daemon",
    "NbdServer": "nbd_server",
    "Node": "node",
    "NodeIo": "node_io",
    "Operation": "operation",
    "PointInTime": "point_in_time",
    "Process": "process",
    "Qemu": "qemu",
    "QemuIo": "qemu_io",
    "Qmp": "qmp",
    "StorageDaemon": "storage_daemon",
    "StorageMigration": "storage_migration",
    "ThrottleGroup": "throttle_group",
    "Toolchain": "toolchain",
    "Transaction": "transaction",
    "UriExport": "uri_export",
}

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, _HOMES)
