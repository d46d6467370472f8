"""Faults that are there for a block, and what is left of them after it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

import pytest

from qemu_blocksdk import VM, Drive, Image, NbdServer, StorageDaemon
from qemu_blocksdk.aio import AsyncImage, AsyncNbdServer, AsyncStorageDaemon, AsyncVM
from qemu_blocksdk.blockdev import Blkdebug, BlockdevOptions, File, NullCo, Qcow2, Raw
from qemu_blocksdk.errors import (
    CommandError,
    DeadlineExceeded,
    GraphError,
    ToolError,
    UsageError,
)
from qemu_blocksdk.testing.faults import (
    breakpoint_on,
    failing_requests,
    full_disk,
    lost_server,
    suspended,
)
from qemu_blocksdk.wire import QueryJobs
from tests.live.helpers import MakeImage, run, wait_until
from tests.live.nodes import names

pytestmark = pytest.mark.timeout(30)

MIB = 1 << 20


def state(pid: int) -> str:
    """The letter that the kernel has for the state of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# -- suspended ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VM, StorageDaemon])
def test_a_suspended_qemu_stands_still_and_goes_on(kind: type[VM | StorageDaemon]) -> None:
    with kind() as qemu:
        for _ in range(3):
            with suspended(qemu):
                assert state(qemu.process.pid) == "T"
                with pytest.raises(DeadlineExceeded):
                    qemu.qmp.execute(QueryJobs(), timeout=0.05)
            assert qemu.qmp.execute(QueryJobs()) == []


def test_a_suspended_qemu_goes_on_whatever_the_block_raises(daemon: StorageDaemon) -> None:
    with pytest.raises(ZeroDivisionError), suspended(daemon):
        raise ZeroDivisionError
    assert daemon.qmp.execute(QueryJobs()) == []


def test_an_awaited_qemu_is_suspended_alike() -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            with suspended(daemon):
                asking = asyncio.create_task(daemon.qmp.execute(QueryJobs()))
                await asyncio.wait((asking,), timeout=0.05)
                assert not asking.done()
            assert await asking == []

    asyncio.run(main())


def test_a_suspended_nbd_server_answers_when_it_goes_on(make_image: MakeImage) -> None:
    with NbdServer(Image(make_image(), format="qcow2"), shared=2) as server:
        with suspended(server), pytest.raises(DeadlineExceeded):
            NbdServer.list_exports(server.uri, timeout=0.2)
        assert len(NbdServer.list_exports(server.uri)) == 1


def test_a_qemu_that_ends_while_it_is_suspended_is_gone(daemon: StorageDaemon) -> None:
    with suspended(daemon):
        daemon.kill()
    assert not daemon.is_running


def test_what_cannot_be_suspended_is_told(tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    with StorageDaemon(monitors=[path]) as daemon:
        with (
            StorageDaemon.attach(path) as attached,
            pytest.raises(UsageError, match="attached to, not ours"),
            suspended(attached),
        ):
            pytest.fail("the block ran")
        with suspended(daemon):
            with pytest.raises(UsageError, match="suspended already"), suspended(daemon):
                pytest.fail("the block ran")
            assert state(daemon.process.pid) == "T"
    with pytest.raises(UsageError, match="has ended"), suspended(daemon):
        pytest.fail("the block ran")
    for program in (VM(), NbdServer(Image("x", format="raw"))):
        with pytest.raises(UsageError, match="has not been launched"), suspended(program):
            pytest.fail("the block ran")


# -- breakpoints --------------------------------------------------------------------------


def debugged(image: Path) -> Qcow2:
    """A disk with a blkdebug."""
    return Qcow2(node_name="disk", file=Blkdebug(image=File(filename=str(image))))


def test_a_breakpoint_holds_requests_until_the_block_ends(make_image: MakeImage) -> None:
    drive = Drive(id="d", interface="none", options=debugged(make_image(write="-P 7 0 64k")))
    with VM(drives=[drive], blockdevs=[NullCo(node_name="t", size=16 * MIB)]) as vm:
        with breakpoint_on(vm, "d", event="read_aio"):
            job = vm.node("disk").start_backup(vm.node("t"))
            held = 16 * MIB - (64 << 10)
            wait_until(lambda: job.query_info().current_progress == held, what="the job is held")
            assert job.query_info().status == "running"
        job.run(timeout=10)


def test_an_awaited_breakpoint_is_removed_when_the_block_fails(make_image: MakeImage) -> None:
    async def main(image: Path) -> None:
        drive = Drive(id="d", interface="none", options=debugged(image))
        async with AsyncVM(drives=[drive]) as vm:
            with pytest.raises(ZeroDivisionError):
                async with breakpoint_on(vm, "d"):
                    raise ZeroDivisionError
            assert "read 65536/65536" in await vm.node("disk").qemu_io("read 0 64k", timeout=5)

    asyncio.run(main(make_image()))


def test_a_breakpoint_goes_with_its_vm(make_image: MakeImage) -> None:
    drive = Drive(id="d", interface="none", options=debugged(make_image()))
    with VM(drives=[drive]) as vm, breakpoint_on(vm, "d"):
        vm.kill()


def test_a_breakpoint_that_cannot_be_is_told(make_image: MakeImage) -> None:
    with pytest.raises(UsageError, match="has not been launched"), breakpoint_on(VM(), "d"):
        pytest.fail("the block ran")
    drive = Drive(id="d", interface="none", file=make_image(), format="qcow2")
    with (
        VM(drives=[drive]) as vm,
        pytest.raises(GraphError, match="blkdebug"),
        breakpoint_on(vm, "d"),
    ):
        pytest.fail("the block ran")


# -- failing requests ---------------------------------------------------------------------


def _options(form: str, image: Path, qemu: VM | StorageDaemon) -> BlockdevOptions:
    file = File(node_name="file", filename=str(image))
    match form:
        case "anonymous":
            return Qcow2(node_name="disk", file=file.named(None))
        case "by name":
            qemu.add_node(file)
            return Qcow2(node_name="disk", file="file")
        case _:
            return Qcow2(node_name="disk", file=file)


@pytest.mark.parametrize("form", ["inside", "anonymous", "by name"])
@pytest.mark.parametrize("kind", [VM, StorageDaemon])
def test_writes_fail_for_the_block_and_the_data_after_it_is_right(
    kind: type[VM | StorageDaemon], form: str, make_image: MakeImage
) -> None:
    image, source = make_image(), make_image("source.raw", fmt="raw", write="-P 7 0 4M")
    with kind() as qemu:
        options = _options(form, image, qemu)
        disk = qemu.add_node(options)
        data = qemu.add_node(Raw(node_name="data", file=File(filename=str(source))))
        before = names(qemu)
        with failing_requests(qemu, options, "write", "write-zeroes", errno=errno.ENOSPC):
            failed = data.start_backup(disk).run(timeout=10, check=False)
            assert (failed.outcome, failed.error) == ("failed", "No space left on device")
        assert names(qemu) == before
        data.backup(disk, timeout=10)
        disk.delete()
    assert "Images are identical" in run("qemu-img", "compare", image, source)


def test_reads_fail_for_the_block_also_of_a_disk_that_nobody_may_write(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    image = make_image(write="-P 7 0 1M")
    options = Qcow2(node_name="disk", file=File(filename=str(image)), read_only=True)
    disk = daemon.add_node(options)
    target = daemon.add_node(NullCo(node_name="target", size=16 * MIB))
    for _ in range(2):
        with failing_requests(daemon, options, "read"):
            assert (
                disk.start_backup(target).run(timeout=10, check=False).error == "Input/output error"
            )
        assert disk.backup(target, timeout=10).outcome == "completed"


def test_a_guest_that_writes_meanwhile_sees_an_error(make_image: MakeImage) -> None:
    options = Qcow2(node_name="disk", file=File(filename=str(make_image())))
    with VM(blockdevs=[options]) as vm:
        vm.plug(vm.node("disk"), device="virtio-scsi", id="hd")
        with failing_requests(vm, options, "write"):
            vm.hmp_qemu_io("hd", "write 0 64k", qdev=True)
            assert "Input/output error" in vm.process.output()
        vm.hmp_qemu_io("hd", "write 0 64k", qdev=True)
        assert "wrote 65536/65536 bytes" in vm.process.output()


def test_awaited_requests_fail_alike(make_image: MakeImage) -> None:
    async def main(image: Path) -> None:
        async with AsyncVM() as vm:
            options = Qcow2(node_name="disk", file=File(filename=str(image)))
            disk = await vm.add_node(options)
            async with failing_requests(vm, options, "write"):
                with pytest.raises(ToolError):
                    await disk.io.write(0, 65536)
            await disk.io.write(0, 65536)

    asyncio.run(main(make_image()))


def test_requests_of_a_qemu_that_ends_in_the_block_fail_no_more(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = Qcow2(node_name="disk", file=File(filename=str(make_image())))
    daemon.add_node(options)
    with failing_requests(daemon, options, "write"):
        daemon.kill()


def test_a_node_that_is_removed_in_the_block_is_not_missed(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    options = Qcow2(node_name="disk", file=File(filename=str(make_image())))
    disk = daemon.add_node(options)
    with failing_requests(daemon, options, "read"):
        disk.delete()
    assert names(daemon) == set()


def test_failures_that_cannot_be_are_told_and_leave_nothing(
    daemon: StorageDaemon, make_image: MakeImage
) -> None:
    image = make_image()
    run("qemu-img", "amend", "-f", "qcow2", "-o", "compat=0.10", image)
    options = Qcow2(node_name="disk", file=File(filename=str(image)))
    daemon.add_node(options)
    null = NullCo(node_name="null")
    daemon.add_node(null)
    other = options.evolve(lazy_refcounts=True)  # which this old image does not have
    before = names(daemon)
    wrong: list[tuple[Callable[[], AbstractContextManager[None]], type[Exception], str]] = [
        (lambda: failing_requests(daemon, options, "flush"), UsageError, "other than flushes"),
        (lambda: failing_requests(daemon, options), UsageError, "say what is to fail"),
        (lambda: failing_requests(daemon, null, "read"), GraphError, "looked for .*file"),
        (lambda: failing_requests(daemon, null.named("disk"), "read"), UsageError, "no options of"),
        (lambda: failing_requests(daemon, options.named(None), "read"), UsageError, "node_name"),
        (lambda: failing_requests(daemon, options.named("gone"), "read"), GraphError, "'gone'"),
        (
            lambda: failing_requests(daemon, other, "read"),
            CommandError,
            "blockdev-reopen: .*azy refcounts",
        ),
        (lambda: failing_requests(VM(), options, "read"), UsageError, "has not been launched"),
    ]
    for make, kind, words in wrong:
        with pytest.raises(kind, match=words) as caught, make():
            pytest.fail("the block ran")
        assert "\n" not in str(caught.value)
        assert names(daemon) == before


# -- a lost server ------------------------------------------------------------------------


def test_a_client_comes_back_to_a_server_that_was_lost(
    make_image: MakeImage, tmp_path: Path
) -> None:
    image = make_image("disk.raw", fmt="raw", write="-P 7 0 1M")
    with (
        NbdServer(Image(image, format="raw"), address=tmp_path / "nbd", persistent=True) as server,
        VM() as vm,
    ):
        disk = vm.add_node(server.uri.options(node_name="disk").evolve(reconnect_delay=20))
        assert disk.io.read_data(0, 4) == b"\x07" * 4
        with lost_server(server):
            assert not server.is_running
            with pytest.raises(ToolError):
                NbdServer.list_exports(server.uri)
        assert disk.io.read_data(4, 4) == b"\x07" * 4


def test_a_client_without_patience_has_an_error(make_image: MakeImage, tmp_path: Path) -> None:
    image = make_image("disk.raw", fmt="raw")
    with (
        NbdServer(Image(image, format="raw"), address=tmp_path / "nbd") as server,
        VM() as vm,
    ):
        disk = vm.add_node(server.uri.options(node_name="disk"))
        with lost_server(server), pytest.raises(ToolError, match="Input/output error"):
            disk.io.read_data(0, 4)


def test_an_awaited_server_comes_back_when_the_block_fails(
    make_image: MakeImage, tmp_path: Path
) -> None:
    async def main(image: Path) -> None:
        disk = AsyncImage(image, format="raw")
        async with AsyncNbdServer(disk, address=tmp_path / "nbd") as server:
            before = server.process.pid
            with pytest.raises(ZeroDivisionError):
                async with lost_server(server):
                    raise ZeroDivisionError
            assert server.is_running
            assert server.process.pid != before

    asyncio.run(main(make_image("disk.raw", fmt="raw")))


def test_a_server_that_cannot_be_lost_is_told(make_image: MakeImage, tmp_path: Path) -> None:
    image = Image(make_image("disk.raw", fmt="raw"), format="raw")
    server = NbdServer(image, address=tmp_path / "nbd")
    with pytest.raises(UsageError, match="does not run"), lost_server(server):
        pytest.fail("the block ran")
    for address in (None, ("127.0.0.1", 0)):
        with NbdServer(image, address=address) as server:
            with pytest.raises(UsageError, match="an address of its own"), lost_server(server):
                pytest.fail("the block ran")
            assert server.is_running


# -- a full disk --------------------------------------------------------------------------


MAY_MOUNT = pytest.mark.usefixtures("full_disk")  # which skips where nobody may


@MAY_MOUNT
def test_a_full_disk_is_full_after_its_size_and_gone_after_its_block(tmp_path: Path) -> None:
    with full_disk(tmp_path / "small", size="64k") as folder:
        with pytest.raises(OSError, match="No space left"):
            (folder / "file").write_bytes(b"x" * MIB)
        assert (folder / "file").stat().st_size == 64 << 10
    assert not (tmp_path / "small").exists()


@MAY_MOUNT
def test_a_full_disk_goes_whatever_is_open_there_and_whatever_the_block_raises(
    tmp_path: Path,
) -> None:
    opened: list[TextIO] = []

    def fail() -> None:
        with full_disk(tmp_path / "small") as folder:
            opened.append((folder / "file").open("w"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not (tmp_path / "small").exists()
    opened[0].close()


def test_a_full_disk_that_cannot_be_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(UsageError, match="cannot make"), full_disk(path):
            pytest.fail("the block ran")
    with pytest.raises(UsageError, match="not a size"), full_disk(tmp_path / "x", size="much"):
        pytest.fail("the block ran")
    assert not (tmp_path / "x").exists()


def test_without_the_right_to_mount_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mount"
    program.write_text("#!/bin/sh\necho mount: only root can do that >&2; exit 32\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with (
        pytest.raises(ToolError, match=r"mount failed \(exit status 32\): .*only root"),
        full_disk(tmp_path / "full"),
    ):
        pytest.fail("the block ran")
    assert not (tmp_path / "full").exists()
