"""A VM from its description to its end, with the types that one may count on."""

import socket
from typing import assert_type

from qemu_blocksdk import VM, Console, Drive, InheritedFd, Secret, StorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2
from qemu_blocksdk.objects import QemuOptions
from qemu_blocksdk.wire import (
    AddfdInfo,
    BlockExportOptionsNbd,
    DeviceAdd,
    FdsetInfo,
    JobStatusChange,
    NbdServerStart,
    ObjectOptionsIothread,
    SocketAddressLegacyUnix,
    UnixSocketAddress,
)

disk = Qcow2(node_name="disk", file=File(filename="disk.qcow2"))
common: QemuOptions = {
    "objects": [ObjectOptionsIothread(id="io0")],
    "blockdevs": [disk, NullCo(node_name="none")],
    "secrets": {"key": Secret("x")},
    "monitors": ["monitor.sock", ("127.0.0.1", 4444)],
}
with VM(
    machine="q35",
    accelerator="tcg",
    console=Console(index=1),
    fds=[InheritedFd(fd=3, fdset=1)],
    drives=[Drive(file="a.qcow2", format="qcow2"), Drive(interface="none", options=disk)],
    devices=[DeviceAdd(driver="virtio-blk-pci", properties={"drive": "disk"})],
    incoming="defer",
    **common,
) as vm:
    assert_type(vm.hmp("info block"), str)
    assert_type(vm.add_fd("disk.raw"), AddfdInfo)
    assert_type(vm.query_fdsets(), list[FdsetInfo])
    assert_type(vm.console_socket, socket.socket)
    assert_type(vm.clock_step(100), int)
    assert_type(vm.kill(), int | None)
    vm.pause_drive("disk", "read_aio")
    events = vm.qmp.events(JobStatusChange)
    assert_type(events.get(where=lambda event: event.status == "ready"), JobStatusChange)

address = SocketAddressLegacyUnix(data=UnixSocketAddress(path="nbd.sock"))
export = BlockExportOptionsNbd(id="e", node_name="disk")
StorageDaemon(nbd_server=NbdServerStart(addr=address), exports=[export], **common)
assert_type(VM.attach("monitor.sock"), VM)
assert_type(StorageDaemon.attach(("127.0.0.1", 4444)), StorageDaemon)
