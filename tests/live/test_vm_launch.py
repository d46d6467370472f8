"""What a VM and a storage daemon are told at their launch, each thing seen in the running QEMU."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from qemu_blocksdk import (
    VM,
    Chardev,
    Console,
    Drive,
    Image,
    InheritedFd,
    Secret,
    StorageDaemon,
)
from qemu_blocksdk.blockdev import NULL, File, Http, Luks, NullCo, Qcow2, Raw
from qemu_blocksdk.errors import CommandError, LaunchError, Unsupported, UsageError
from qemu_blocksdk.tools.creation import CreateLuks
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.wire import (
    BlockExportOptionsNbd,
    DeviceAdd,
    InetSocketAddress,
    NbdServerStart,
    ObjectOptionsIothread,
    ObjectOptionsSecret,
    ObjectOptionsThrottleGroup,
    QomGet,
    QomList,
    QueryBlock,
    QueryBlockExports,
    QueryIothreads,
    QueryStatus,
    SocketAddressLegacyInet,
    SocketAddressLegacyUnix,
    ThrottleLimits,
    UnixSocketAddress,
)
from tests.live.helpers import MakeImage, run

pytestmark = pytest.mark.timeout(30)

KINDS = pytest.mark.parametrize("kind", [StorageDaemon, VM])


# -- what both are told -----------------------------------------------------------------


@KINDS
def test_objects_and_nodes_are_there_from_the_launch_on(
    kind: type[StorageDaemon | VM], make_image: MakeImage
) -> None:
    image = make_image("a,b=c.qcow2")
    limits = ThrottleLimits(iops_total=10)
    with kind(
        objects=[ObjectOptionsThrottleGroup(id="slow", limits=limits)],
        blockdevs=[
            Qcow2(node_name="disk", file=File(filename=str(image)), backing=NULL),
            NullCo(node_name="none", size=1 << 20),
        ],
    ) as qemu:
        assert qemu.node("disk").query_info().drv == "qcow2"
        assert qemu.node("none").query_info().image.virtual_size == 1 << 20
        assert "slow" in [each.name for each in qemu.qmp.execute(QomList(path="/objects"))]
        qemu.delete_object("slow")
        assert "slow" not in [each.name for each in qemu.qmp.execute(QomList(path="/objects"))]


@KINDS
def test_a_secret_of_the_launch_opens_an_image_and_is_on_no_command_line(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    image = Image(tmp_path / "i.luks", format="luks", secret=Secret("hunter2"))
    image.create("1M", CreateLuks(iter_time=0.01))
    disk = Luks(node_name="disk", key_secret="key", file=File(filename=str(tmp_path / "i.luks")))
    with kind(secrets={"key": Secret("hunter2")}, blockdevs=[disk]) as qemu:
        assert qemu.node("disk").query_info().image.virtual_size == 1 << 20
        line = Path(f"/proc/{qemu.process.pid}/cmdline").read_bytes()
        assert b"secret,id=key" in line
        assert b"hunter2" not in line
    with pytest.raises(LaunchError, match="nvalid password") as caught:
        kind(secrets={"key": Secret("hunter3")}, blockdevs=[disk]).launch()
    assert "hunter" not in str((caught.value, caught.value.argv, caught.value.output))


@KINDS
def test_an_object_that_holds_a_secret_is_refused_before_the_launch(
    kind: type[StorageDaemon | VM],
) -> None:
    qemu = kind(objects=[ObjectOptionsSecret(id="s", data="hunter2")])
    with pytest.raises(UsageError, match="holds a secret") as caught:
        qemu.launch()
    assert "hunter2" not in str(caught.value)
    with kind() as running:
        running.add_object(ObjectOptionsSecret(id="s", data="hunter2"))
        with pytest.raises(CommandError, match=r"duplicate|in use|attempt to add"):
            running.add_object(ObjectOptionsSecret(id="s", data="hunter2"))
        running.delete_object("s")
        with pytest.raises(CommandError, match="not found"):
            running.delete_object("s")


@KINDS
def test_a_node_that_cannot_be_opened_fails_the_launch_in_qemus_words(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    gone = File(node_name="f", filename=str(tmp_path / "gone"))
    with pytest.raises(LaunchError, match="No such file") as caught:
        kind(blockdevs=[gone]).launch()
    assert "\n" not in str(caught.value)


@KINDS
def test_what_is_no_value_of_the_wire_is_refused(kind: type[StorageDaemon | VM]) -> None:
    with pytest.raises(UsageError, match=r"'driver=file' is none of the classes"):
        kind(blockdevs=["driver=file"]).launch()  # type: ignore[list-item]


@KINDS
def test_a_character_device_is_described_in_qemus_words(
    kind: type[StorageDaemon | VM], tmp_path: Path
) -> None:
    path = tmp_path / "one,two"
    chardev = Chardev(
        id="c0", backend="socket", options={"path": str(path), "server": True, "wait": False}
    )
    with kind(chardevs=[chardev]), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert not path.exists()


# -- a VM alone -------------------------------------------------------------------------


def test_devices_sit_on_nodes_and_io_threads_of_the_launch() -> None:
    with VM(
        objects=[ObjectOptionsIothread(id="io0")],
        blockdevs=[NullCo(node_name="disk", size=1 << 20)],
        devices=[
            DeviceAdd(
                driver="virtio-blk-pci",
                id="vd0",
                properties={"drive": "disk", "iothread": "io0", "serial": "a,b"},
            )
        ],
    ) as vm:
        assert [thread.id for thread in vm.qmp.execute(QueryIothreads())] == ["io0"]
        serial = vm.qmp.execute(QomGet(path="/machine/peripheral/vd0", property="serial"))
        assert serial == "a,b"
        inserted = vm.qmp.execute(QueryBlock())[0].inserted
        assert inserted is not None
        assert inserted.node_name == "disk"


def test_a_drive_has_what_it_is_described_with(make_image: MakeImage) -> None:
    image = make_image("a,b.qcow2")
    drive = Drive(
        file=image,
        format="qcow2",
        id="drive0",
        cache="unsafe",
        aio="threads",
        read_only=True,
        detect_zeroes="on",
        rerror="stop",
        options={"node-name": "top", "lazy-refcounts": True},
    )
    with VM(drives=[drive, Drive(id="empty", interface="none")]) as vm:
        found = {info.device: info for info in vm.qmp.execute(QueryBlock())}
        inserted = found["drive0"].inserted
        assert inserted is not None
        assert inserted.node_name == "top"
        assert inserted.drv == "qcow2"
        assert inserted.ro
        assert inserted.file == str(image)
        assert inserted.detect_zeroes == "on"
        assert inserted.cache.no_flush
        assert found["drive0"].qdev is not None  # the virtio device of if=virtio
        assert found["empty"].inserted is None


def test_a_drive_takes_the_options_of_a_block_device(make_image: MakeImage) -> None:
    image = make_image("x,y.qcow2")
    options = Qcow2(node_name="top", file=File(filename=str(image)), read_only=True)
    with VM(drives=[Drive(interface="none", id="d", options=options)]) as vm:
        assert vm.node("top").query_info().ro
        assert vm.node("top").query_info().file == str(image)


def test_a_drive_has_limits(make_image: MakeImage) -> None:
    limits = ThrottleLimits(iops_total=50, bps_read=4096, bps_read_max=8192)
    drive = Drive(
        file=make_image(), format="qcow2", id="d", throttling=limits, throttling_group="g"
    )
    with VM(drives=[drive]) as vm:
        (info,) = vm.qmp.execute(QueryBlock())
        assert info.inserted is not None
        found = info.inserted
        assert (found.iops, found.bps_rd, found.bps_rd_max) == (50, 4096, 8192)
        assert found.group == "g"


@pytest.mark.parametrize(
    "drive",
    [
        Drive(file="http://me:hunter2@host.invalid/x"),
        Drive(options=Raw(file=Http(url="http://host.invalid/x", cookie="hunter2"))),
        Drive(file="x", options={"file.cookie": "hunter2"}),
    ],
)
def test_a_drive_that_would_show_a_secret_is_refused(drive: Drive) -> None:
    assert "hunter2" not in repr(drive)
    with pytest.raises(UsageError, match="holds a secret") as caught:
        VM(drives=[drive]).launch()
    assert "hunter2" not in str(caught.value)


def test_a_vm_that_waits_for_a_migration_says_so() -> None:
    with VM(incoming="defer") as vm:
        assert vm.qmp.execute(QueryStatus()).status == "inmigrate"


def test_the_guests_firmware_talks_on_the_console() -> None:
    with VM(machine="pc,graphics=off", accelerator="tcg", console=Console()) as vm:
        vm.console_socket.settimeout(15)
        said = b""
        while b"SeaBIOS" not in said:
            data = vm.console_socket.recv(4096)
            assert data, said
            said += data
    with pytest.raises(OSError, match="Bad file descriptor"):
        vm.console_socket.recv(1)


def test_a_console_may_be_another_port_or_device() -> None:
    for console in (Console(index=1), Console(device="isa-serial")):
        with VM(console=console) as vm:
            assert "blocksdk-console" in vm.hmp("info chardev")
            assert vm.hmp("info chardev").count("filename=null") == console.index
    with pytest.raises(LaunchError, match="virtio-serial"):
        VM(console=Console(device="virtconsole"), machine="none").launch()


def test_a_vm_without_a_console_says_so() -> None:
    with pytest.raises(UsageError, match="not been launched"):
        _ = VM(console=Console()).console_socket
    with VM() as vm, pytest.raises(UsageError, match="without a console"):
        _ = vm.console_socket


def test_an_inherited_descriptor_is_a_disk(make_image: MakeImage) -> None:
    path = make_image("disk.raw", fmt="raw", size="1M")
    fd = os.open(path, os.O_RDWR)
    try:
        disk = Raw(node_name="disk", file=File(filename="/dev/fdset/7"))
        with VM(fds=[InheritedFd(fd=fd, fdset=7, opaque="a,b")], blockdevs=[disk]) as vm:
            (fdset,) = vm.query_fdsets()
            assert fdset.fdset_id == 7
            assert [each.opaque for each in fdset.fds] == ["a,b"]
            assert vm.node("disk").query_info().image.virtual_size == 1 << 20
    finally:
        os.close(fd)  # ours still, or this raises


def test_a_descriptor_that_is_not_open_cannot_be_inherited() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    with pytest.raises(LaunchError):
        VM(fds=[InheritedFd(fd=fd + 50, fdset=1)]).launch()


def test_a_vm_is_launched_again_as_it_was_described(tmp_path: Path) -> None:
    vm = VM(
        monitors=[tmp_path / "m"],
        secrets={"s": Secret("x")},
        blockdevs=[NullCo(node_name="disk")],
        console=Console(),
    )
    for _ in range(2):
        with vm:
            assert vm.node("disk").query_info().drv == "null-co"
            assert (tmp_path / "m").exists()
    vm.launch()
    vm.process.send_signal(signal.SIGKILL)
    vm.process.wait(timeout=5)
    vm.launch()  # what the dead one left is no hindrance
    vm.stop()


def test_qtest_is_there_with_the_accelerator_alone() -> None:
    with VM() as vm:
        if vm.query_accelerator() == "qtest":
            assert vm.clock_step(100) >= 100
        else:
            for ask in (lambda: vm.qtest("endianness"), lambda: vm.clock_step()):
                with pytest.raises(Unsupported, match="no qtest channel"):
                    ask()
    with pytest.raises(UsageError, match="not been launched"):
        VM().qtest("endianness")


# -- a storage daemon alone -------------------------------------------------------------


def test_a_daemon_begins_with_its_nbd_server_and_exports(
    tmp_path: Path, make_image: MakeImage
) -> None:
    image = make_image(write="-P 7 0 64k")
    path = tmp_path / "nbd,sock"
    with StorageDaemon(
        blockdevs=[Qcow2(node_name="disk", file=File(filename=str(image)))],
        nbd_server=NbdServerStart(
            addr=SocketAddressLegacyUnix(data=UnixSocketAddress(path=str(path))),
            max_connections=3,
        ),
        exports=[BlockExportOptionsNbd(id="e0", node_name="disk", name="x")],
    ) as daemon:
        assert [each.id for each in daemon.qmp.execute(QueryBlockExports())] == ["e0"]
        uri = NbdUri(address=str(path), export="x")
        run("qemu-io", "-r", "-f", "raw", "-c", "read -P 7 0 64k", str(uri))
    assert not path.exists()


def test_the_socket_of_another_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    server = NbdServerStart(addr=SocketAddressLegacyUnix(data=UnixSocketAddress(path=str(path))))
    with StorageDaemon(monitors=[path]) as first:
        for other in (StorageDaemon(nbd_server=server), VM(monitors=[path])):
            with pytest.raises(LaunchError, match=r"taken.*in use"):
                other.launch()
        with StorageDaemon.attach(path) as attached:
            assert attached.qmp.version == first.qmp.version
    assert not path.exists()


def test_a_daemons_nbd_server_may_listen_on_tcp() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = InetSocketAddress(host="127.0.0.1", port=str(port))
    with StorageDaemon(
        blockdevs=[NullCo(node_name="disk", size=1 << 20)],
        nbd_server=NbdServerStart(addr=SocketAddressLegacyInet(data=address)),
        exports=[BlockExportOptionsNbd(id="e0", node_name="disk")],
    ):
        assert "disk" in run("qemu-nbd", "-L", "-b", "127.0.0.1", "-p", str(port))


def test_an_export_of_no_node_fails_the_launch_in_qemus_words() -> None:
    with pytest.raises(LaunchError, match=r"gone") as caught:
        StorageDaemon(exports=[BlockExportOptionsNbd(id="e", node_name="gone")]).launch()
    assert "\n" not in str(caught.value)


# -- the end ----------------------------------------------------------------------------


@KINDS
def test_the_exit_status_and_all_output_are_there_after_the_end(
    kind: type[StorageDaemon | VM],
) -> None:
    with kind(args=["--trace", "nbd_*"]) as qemu:
        pass
    assert qemu.process.exit_status == 0
    assert qemu.process.output() == qemu.process.output_tail()
    assert qemu.stop() == 0
    assert qemu.kill() == 0


@KINDS
def test_a_kill_ends_it_at_once_and_may_be_repeated(kind: type[StorageDaemon | VM]) -> None:
    qemu = kind()
    assert qemu.kill() is None
    qemu.launch()
    qemu.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert qemu.kill() == -signal.SIGKILL
    assert time.monotonic() - begin < 2
    assert not qemu.qmp.is_connected
    assert qemu.kill() == -signal.SIGKILL
    assert qemu.stop() == -signal.SIGKILL


@KINDS
def test_a_signal_that_nobody_asked_for_is_a_warning_in_the_log(
    kind: type[StorageDaemon | VM], caplog: pytest.LogCaptureFixture
) -> None:
    with kind() as qemu:
        os.kill(qemu.process.pid, signal.SIGSEGV)
        qemu.process.wait(timeout=5)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "killed by signal 11" in record.message
        assert " ".join(qemu.process.argv[:3]) in record.message


@KINDS
def test_the_end_that_was_asked_for_is_not_in_the_log(
    kind: type[StorageDaemon | VM], caplog: pytest.LogCaptureFixture
) -> None:
    for end in ("stop", "kill", "frozen"):
        qemu = kind()
        qemu.launch()
        if end == "frozen":
            qemu.process.send_signal(signal.SIGSTOP)
        qemu.kill() if end == "kill" else qemu.stop(grace=0.2)
    assert caplog.records == []


def test_several_vms_and_daemons_live_side_by_side(make_image: MakeImage) -> None:
    image = make_image(write="-P 9 0 64k")
    disk = Qcow2(node_name="disk", file=File(filename=str(image)))
    with (
        StorageDaemon(blockdevs=[disk]) as daemon,
        daemon.start_nbd_server() as server,
        server.export(daemon.node("disk")) as export,
        VM(blockdevs=[Raw(node_name="a", read_only=True, file=export.uri.options())]) as one,
        VM(blockdevs=[Raw(node_name="b", read_only=True, file=export.uri.options())]) as two,
    ):
        assert len({qemu.process.pid for qemu in (daemon, one, two)}) == 3
        assert one.node("a").query_info().image.virtual_size == 16 << 20
        assert two.node("b").query_info().image.virtual_size == 16 << 20
        two.kill()
        assert one.is_running
        assert daemon.is_running
        assert not two.is_running
