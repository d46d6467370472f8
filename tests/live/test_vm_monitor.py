"""The monitor of a VM: human commands, breakpoints of blkdebug, descriptors, qtest."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Drive
from qemu_blocksdk.aio import AsyncVM
from qemu_blocksdk.blockdev import Blkdebug, File, NullCo, Qcow2, Raw
from qemu_blocksdk.errors import CommandError, ConnectionLost, GraphError, Unsupported, UsageError
from qemu_blocksdk.objects import emulator
from qemu_blocksdk.objects.qtest import Qtest
from qemu_blocksdk.wire import DeviceAdd, Getfd
from tests.live.helpers import MakeImage, wait_until

pytestmark = pytest.mark.timeout(30)


# -- human commands ---------------------------------------------------------------------


def test_a_human_command_returns_what_it_prints_failures_too() -> None:
    with VM() as vm:
        assert vm.hmp("info version").startswith(".".join(map(str, vm.qmp.version)))
        assert "unknown command" in vm.hmp("nonsense")
        assert vm.hmp("") == ""


def test_qemu_io_runs_on_a_node_a_drive_and_a_device(make_image: MakeImage) -> None:
    with VM(
        blockdevs=[Qcow2(node_name="n", file=File(filename=str(make_image("n.qcow2"))))],
        drives=[Drive(id="d", interface="none", file=make_image("d.qcow2"), format="qcow2")],
        devices=[
            DeviceAdd(driver="virtio-blk-pci", id="v", properties={"drive": "n", "share-rw": True})
        ],
    ) as vm:
        vm.hmp_qemu_io("n", "write -P 1 0 64k")
        vm.hmp_qemu_io("d", "write -P 2 0 64k")
        vm.hmp_qemu_io("/machine/peripheral/v/virtio-backend", "read -P 1 0 64k", qdev=True)
        vm.hmp_qemu_io("d", "read -P 3 0 64k")  # what is wrong shows in the output alone
    said = vm.process.output()
    assert said.count("wrote 65536/65536 bytes") == 2
    assert said.count("read 65536/65536 bytes") == 2
    assert said.count("Pattern verification failed") == 1


@pytest.mark.parametrize("name", ["gone", 'a "quoted" \\ name', "two\nlines"])
def test_qemu_io_on_a_drive_that_is_not_there_is_an_error_of_the_vm(name: str) -> None:
    with VM() as vm, pytest.raises(CommandError, match="Cannot find device") as caught:
        vm.hmp_qemu_io(name, "read 0 512")
    assert f"node-name='{name}'".replace("\n", " ") in caught.value.desc
    assert str(caught.value).startswith("VM qemu-system-x86_64: pid")


# -- breakpoints ------------------------------------------------------------------------


def _debugged(image: Path) -> Qcow2:
    return Qcow2(node_name="disk", file=Blkdebug(image=File(filename=str(image))))


@pytest.mark.parametrize("name", ["d", "disk", "/machine/peripheral/v/virtio-backend"])
def test_a_paused_drive_holds_a_job_until_it_is_resumed(make_image: MakeImage, name: str) -> None:
    image = make_image(write="-P 7 0 64k")
    drive = Drive(id="d", interface="none", options=_debugged(image))
    use = DeviceAdd(driver="virtio-blk-pci", id="v", properties={"drive": "disk"})
    target = NullCo(node_name="t", size=16 << 20)
    with (
        VM(blockdevs=[target], drives=[drive])
        if name == "d"
        else VM(blockdevs=[target, _debugged(image)], devices=[use], args=["-S"])
    ) as vm:
        vm.pause_drive(name)
        with vm.node("disk").start_backup(vm.node("t")) as job:
            held = (16 << 20) - (64 << 10)  # all but the cluster that it cannot read
            wait_until(lambda: job.query_info().current_progress == held, what="the job is held")
            assert job.query_info().status == "running"
            vm.resume_drive(name)
            job.wait(timeout=10)
        vm.resume_drive(name)  # nothing is held any more: nothing happens


def test_a_drive_is_paused_at_one_event_by_its_device_too(make_image: MakeImage) -> None:
    file = f"blkdebug::{make_image('d.qcow2')}"
    drive = Drive(id="d", interface="none", file=file, format="qcow2")
    with VM(accelerator="tcg", drives=[drive]) as vm:
        vm.pause_drive("d", "write_aio")
        vm.hmp_qemu_io("d", "aio_write -P 5 0 64k")
        vm.hmp_qemu_io("d", "read -P 0 8M 64k")  # another event: it is not held
        vm.resume_drive("d")
        vm.hmp_qemu_io("d", "aio_flush")
        vm.hmp_qemu_io("d", "read -P 5 0 64k")
    said = vm.process.output()
    assert "Suspended request" in said
    assert said.index("Suspended request") < said.index("Resuming request")
    assert said.count("read 65536/65536 bytes") == 2
    assert "Pattern verification failed" not in said


def test_a_drive_without_a_blkdebug_cannot_be_paused(make_image: MakeImage) -> None:
    drive = Drive(id="d", interface="none", file=make_image(), format="qcow2")
    node = NullCo(node_name="disk")
    with VM(blockdevs=[node], drives=[drive, Drive(id="empty", interface="none")]) as vm:
        for verb in (vm.pause_drive, vm.resume_drive):
            with pytest.raises(GraphError, match=r"blkdebug.*'d', found qcow2, file"):
                verb("d")
            for other in ("empty", "disk", "gone", ""):  # a drive without a medium, a mere node
                with pytest.raises(GraphError, match="found no such drive"):
                    verb(other)
        with pytest.raises(UsageError, match="no event of blkdebug"):
            vm.pause_drive("d", "nonsense")  # type: ignore[arg-type]


# -- descriptors ------------------------------------------------------------------------


def test_a_file_given_to_a_running_vm_becomes_a_disk(make_image: MakeImage) -> None:
    path = make_image("disk.raw", fmt="raw", size="1M")
    with VM() as vm:
        added = vm.add_fd(path, opaque="the disk")
        (fdset,) = vm.query_fdsets()
        assert (fdset.fdset_id, fdset.fds[0].opaque) == (added.fdset_id, "the disk")
        name = f"/dev/fdset/{added.fdset_id}"
        node = vm.add_node(Raw(node_name="disk", file=File(filename=name)))
        assert node.query_info().image.virtual_size == 1 << 20
        node.delete()
        vm.remove_fd(added.fdset_id, fd=added.fd)
        assert vm.query_fdsets() == []
        with pytest.raises(CommandError, match=r"not found|File descriptor named"):
            vm.remove_fd(added.fdset_id)


def test_descriptors_go_to_the_set_that_is_named() -> None:
    with VM() as vm, open("/dev/null") as ours:  # noqa: PTH123 - a descriptor is wanted
        first = vm.add_fd(ours.fileno(), fdset=5)
        second = vm.add_fd(ours.fileno(), fdset=5)
        assert (first.fdset_id, second.fdset_id) == (5, 5)
        (fdset,) = vm.query_fdsets()
        assert len(fdset.fds) == 2
        vm.remove_fd(5)
        assert vm.query_fdsets() == []


def test_a_named_descriptor_is_given_and_closed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with VM() as vm:
        vm.getfd(writing, name="p")
        os.close(writing)
        assert not _has_ended(reading)  # QEMU's copy is open
        vm.closefd("p")
        wait_until(lambda: _has_ended(reading), what="QEMU's copy of the pipe closed")
        with pytest.raises(CommandError, match=r"not found"):
            vm.closefd("p")
    os.close(reading)


def _has_ended(pipe: int) -> bool:
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


def test_what_is_no_descriptor_or_file_is_a_usage_error(tmp_path: Path) -> None:
    with VM() as vm:
        verbs: list[Callable[[], object]] = [
            lambda: vm.getfd(tmp_path / "gone", name="x"),
            lambda: vm.getfd("a\0b", name="x"),
            lambda: vm.getfd(9999, name="x"),
            lambda: vm.add_fd(-1),
            lambda: vm.add_fd(1 << 40),
        ]
        for verb in verbs:
            with pytest.raises(UsageError) as caught:
                verb()
            assert str(caught.value).startswith(("VM ", "cannot open"))
        with pytest.raises(CommandError, match="fdname"):
            vm.getfd("/dev/null", name="1digit")
        vm.getfd("/dev/null", name="fine")
        assert vm.query_fdsets() == []


def test_many_descriptors_at_once_each_reach_their_command() -> None:
    pipes = [os.pipe() for _ in range(24)]

    async def main() -> None:
        async with AsyncVM() as vm:
            # Others that wait in the queue meanwhile, so that QEMU reads ahead.
            await asyncio.gather(
                *(vm.getfd(writing, name=f"p{n}") for n, (_, writing) in enumerate(pipes)),
                *(vm.hmp("info block") for _ in range(24)),
            )
            for _, writing in pipes:
                os.close(writing)
            for number, (reading, _) in enumerate(pipes):
                assert not _has_ended(reading)
                await vm.closefd(f"p{number}")
                assert _has_ended(reading)

    asyncio.run(main())
    for reading, _ in pipes:
        os.close(reading)


def test_a_descriptor_goes_along_while_threads_send_commands() -> None:
    reading, writing = os.pipe()
    with VM() as vm, concurrent.futures.ThreadPoolExecutor(4) as threads:
        others = [threads.submit(vm.hmp, "info block") for _ in range(100)]
        for number in range(20):
            vm.getfd(writing, name=f"p{number}")
        for other in others:
            other.result()
        for number in range(20):
            vm.closefd(f"p{number}")
    os.close(reading)
    os.close(writing)


def test_a_descriptor_needs_a_unix_socket() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        VM(monitors=[("127.0.0.1", port)]),
        VM.attach(("127.0.0.1", port)) as vm,
        pytest.raises(Unsupported, match="unix socket"),
    ):
        vm.getfd("/dev/null", name="x")


def test_an_attached_vm_takes_descriptors_too(tmp_path: Path) -> None:
    with VM(monitors=[tmp_path / "m"]), VM.attach(tmp_path / "m") as vm:
        vm.getfd("/dev/null", name="x")
        vm.closefd("x")


# -- a VM that is gone ------------------------------------------------------------------


def test_every_verb_of_a_dead_vm_is_a_lost_connection_that_names_it() -> None:
    with VM() as vm:
        vm.kill()
        verbs: list[Callable[[], object]] = [
            lambda: vm.hmp("info block"),
            lambda: vm.hmp_qemu_io("d", "read 0 512"),
            lambda: vm.pause_drive("d"),
            lambda: vm.resume_drive("d"),
            lambda: vm.getfd("/dev/null", name="x"),
            lambda: vm.closefd("x"),
            lambda: vm.add_fd("/dev/null"),
            lambda: vm.remove_fd(1),
            vm.query_fdsets,
        ]
        for verb in verbs:
            with pytest.raises(ConnectionLost, match=r"^VM qemu-system-x86_64: not running"):
                verb()
        with pytest.raises(ConnectionLost):
            vm.qmp.execute_with_fd(Getfd(fdname="x"), 0)


def test_every_verb_before_the_launch_says_so() -> None:
    vm = VM()
    verbs: list[Callable[[], object]] = [
        lambda: vm.hmp("info block"),
        lambda: vm.pause_drive("d"),
        lambda: vm.getfd("/dev/null", name="x"),
        vm.query_fdsets,
    ]
    for verb in verbs:
        with pytest.raises(UsageError, match="not been launched"):
            verb()


# -- qtest ------------------------------------------------------------------------------


def test_the_qtest_channel_of_a_real_qemu(tmp_path: Path) -> None:
    # No distribution's binary has the accelerator; the channel works without, but for the clock.
    path = tmp_path / "qtest"
    # A guest that stands still, so that what is read of its memory does not change.
    args = ["-S", "-chardev", f"socket,id=qtest,path={path},server=on,wait=off"]

    async def main() -> None:
        args_of_qtest = [*args, "-qtest", "chardev:qtest"]
        async with AsyncVM(accelerator="tcg", args=args_of_qtest) as vm:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                channel = Qtest(sock)
                assert await channel.ask("endianness", timeout=5) == "little"
                together = [channel.ask("readb 0x0", timeout=5) for _ in range(20)]
                assert len(set(await asyncio.gather(*together))) == 1
                with pytest.raises(CommandError, match="Unknown command 'nonsense'"):
                    await channel.ask("nonsense", timeout=5)
                assert await channel.ask("endianness", timeout=5) == "little"
                await vm.kill()
                with pytest.raises(ConnectionLost):
                    await channel.ask("endianness", timeout=5)

    asyncio.run(main())
    path.unlink()


def test_a_vm_on_the_qtest_accelerator_has_the_channel(tmp_path: Path) -> None:
    # As a binary that has it would be told, but that tcg runs instead.
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/bash\n"
        'for word; do [ "$word" = qtest ] && word=tcg; words+=("$word"); done\n'
        'exec qemu-system-x86_64 "${words[@]}"\n'
    )
    program.chmod(0o755)
    emulator.accelerators.store(str(program), frozenset({"qtest", "tcg"}))
    with VM(program=program) as vm:
        assert vm.query_accelerator() == "qtest"
        assert vm.qtest("endianness") == "little"
        with pytest.raises(CommandError, match="clock_step"):
            vm.clock_step(100)
        assert "endianness" not in vm.process.output()
    with pytest.raises(ConnectionLost):
        vm.qtest("endianness")
