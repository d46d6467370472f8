"""A limit is a budget: each call that takes one ends in time when a program stands still.

The tables have every ``timeout`` of the public API. QEMU and the tools are stopped (SIGSTOP), so
that nothing answers, not even the clean-up; nothing is left of the call once they go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Unpack, cast

import pytest

import qemu_blocksdk
from qemu_blocksdk import (
    VM,
    Backup,
    BlockLayer,
    Disk,
    Image,
    Job,
    NbdServer,
    Node,
    Operation,
    QemuIo,
    Qmp,
    StorageDaemon,
    StorageMigration,
    Toolchain,
)
from qemu_blocksdk.aio import AsyncImage, AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Raw, Throttle
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    DeadlineExceeded,
    JobCancelled,
    LaunchError,
    Unsupported,
)
from qemu_blocksdk.objects import JobOptions
from qemu_blocksdk.qmp import cancellation
from qemu_blocksdk.testing import suspended
from qemu_blocksdk.tools import AmendQcow2, Programs
from qemu_blocksdk.wire import (
    BlockdevAmendOptionsQcow2,
    BlockdevCreateOptionsQcow2,
    Getfd,
    JobStatusChange,
    MigrateSetParameters,
    QueryStatus,
    ThrottleLimits,
)
from tests.live.helpers import Script, children, wait_until

LIMIT = 0.1
CLEANUP = 0.2
SLACK = 1.5
"""Of a machine that has other work to do."""

MIB = 1 << 20
Call = Callable[[float | None], object]
"""Takes the limit."""

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean-ups have less time than those of users."""
    monkeypatch.setattr(cancellation, "CLEANUP_TIMEOUT", CLEANUP)


@contextlib.contextmanager
def in_time(limit: float = LIMIT) -> Generator[None]:
    """Fail when the block takes longer than its limit and a clean-up."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < limit + CLEANUP + SLACK


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What images are in."""
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[VM]:
    """One for all. With qtest, the clock of throttle groups would stand still."""
    with VM(monitors=[folder / "qmp"], accelerator="tcg") as vm:
        # A connection has a second descriptor once a command was given up.
        with suspended(vm), contextlib.suppress(DeadlineExceeded):
            vm.device("nobody").remove(timeout=0.05)
        with contextlib.suppress(CommandError):
            vm.device("nobody").remove(timeout=5)
        vm.qmp.execute_raw("query-jobs")
        yield vm


@pytest.fixture
def vm(shared: VM, folder: Path) -> Iterator[VM]:
    """A VM of which each test leaves nothing but nodes whose names begin with ``u``."""
    before = set(folder.iterdir())

    def left() -> list[object]:
        raw = shared.qmp.execute_raw
        nodes = {node.name for node in shared.graph().nodes if node.type == "block-driver"}
        return [
            *cast("list[object]", raw("query-jobs")),
            *cast("list[object]", raw("query-block-exports")),
            *(name for name in nodes if not name.startswith(("u", "#"))),
            *(info for infos in shared.query_bitmaps().values() for info in infos),
            *(path for path in set(folder.iterdir()) - before if "base" not in path.name),
        ]

    yield shared
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), what="nothing left")
    assert left() == []
    for name in sorted(node.name for node in shared.graph().nodes if node.type == "block-driver"):
        if name.startswith("u"):
            shared.node(name).delete()
    for path in set(folder.iterdir()) - before:
        path.unlink()


def source(vm: VM, name: str = "u") -> Node:
    """A disk that is slow to read."""
    return vm.add_node(NullCo(node_name=name, size=32 * MIB, latency_ns=10**9))


def target(vm: VM, name: str = "ut", size: int = 32 * MIB) -> Node:
    """A disk to copy to."""
    return vm.add_node(NullCo(node_name=name, size=size))


def backup(vm: VM, **options: Unpack[JobOptions]) -> Job:
    """A job that does not end by itself."""
    return source(vm).start_backup(target(vm), **options)


# -- QEMU stands still --------------------------------------------------------------------------

Prepare = Callable[[VM, Path], Call]
"""Called while QEMU answers; returns what is called when it does not."""


def job_verb(call: Callable[[Job, float | None], object]) -> Prepare:
    """A verb of a job, which is then left."""

    def prepare(vm: VM, folder: Path) -> Call:
        job = backup(vm)

        def verb_and_leave(seconds: float | None) -> None:
            with job:
                call(job, seconds)

        return verb_and_leave

    return prepare


def simple(call: Callable[[VM, Path, float], object]) -> Prepare:
    """A verb that needs nothing prepared."""

    def prepare(vm: VM, folder: Path) -> Call:
        return lambda seconds: call(vm, folder, 3600.0 if seconds is None else seconds)

    return prepare


def run_a_job(vm: VM, folder: Path) -> Call:
    job = backup(vm)
    return lambda s: job.run(timeout=s)


def run_a_job_with_pre_finalize(vm: VM, folder: Path) -> Call:
    job = backup(vm, auto_finalize=False)
    return lambda s: job.run(pre_finalize=lambda: None, timeout=s)


def run_a_ready_mirror(vm: VM, folder: Path) -> Call:
    small = vm.add_node(NullCo(node_name="u", size=MIB))
    job = small.start_mirror(vm.add_node(NullCo(node_name="ut", size=MIB)))
    job.wait(until="ready")
    return lambda s: job.run(timeout=s)


def commit_backups(vm: VM, folder: Path) -> Call:
    transaction = vm.transaction()
    for number in range(3):
        transaction.backup(source(vm, f"u{number}"), target(vm, f"ut{number}"))
    return lambda s: transaction.commit(timeout=s)


def run_a_migration(vm: VM, folder: Path) -> Call:
    vm.set_migration_parameters(MigrateSetParameters(max_bandwidth=1))
    migration = vm.migrate("exec:cat >/dev/null")
    return lambda s: migration.run(timeout=s)


def delete_an_export(vm: VM, folder: Path) -> Call:
    server = vm.start_nbd_server(folder / "nbd.sock")
    export = server.export(source(vm))

    def delete(seconds: float | None) -> None:
        with server, export:
            export.delete(timeout=3600.0 if seconds is None else seconds)

    return delete


def stop_an_export_server(vm: VM, folder: Path) -> Call:
    server = vm.start_nbd_server(folder / "nbd.sock")
    server.export(source(vm))

    def stop(seconds: float | None) -> None:
        with server:
            server.stop(timeout=3600.0 if seconds is None else seconds)

    return stop


def jobs_of(vm: VM, number: int) -> bool:
    return len(cast("list[object]", vm.qmp.execute_raw("query-jobs"))) == number


def back_up_three_disks(vm: VM, folder: Path) -> Call:
    backup = Backup(vm, persistent=False)
    for number in range(3):
        image = Image(folder / f"full{number}.qcow2", format="qcow2")
        backup.add_disk(source(vm, f"u{number}"), image)
    operation = backup.start_full()
    wait_until(lambda: jobs_of(vm, 3), what="the jobs")
    return lambda s: operation.run(timeout=s)


def move_a_disk(vm: VM, folder: Path) -> Call:
    # The first MiB is read at once, whatever the limit.
    file = folder / "base-moved"
    Image(file, format="raw").create(2 * MIB)
    with QemuIo(Image(file, format="raw")) as io:
        io.write(0, 2 * MIB)
    name = f"slow{time.monotonic_ns()}"
    slow = vm.add_throttle_group(name, limits=ThrottleLimits(bps_read=1 << 18))
    disk = vm.add_node(
        Throttle(node_name="u", throttle_group=slow.id, file=Raw(file=File(filename=str(file))))
    )
    operation = Disk(vm, disk).start_move(Image(folder / "moved.qcow2", format="qcow2"))
    wait_until(lambda: jobs_of(vm, 1), what="the job")
    return lambda s: operation.run(timeout=s, on_progress=lambda _: None)


def copying(call: Callable[[Node, Node, float | None], object]) -> Prepare:
    """A verb that copies one node to another."""

    def prepare(vm: VM, folder: Path) -> Call:
        disk, copy = source(vm), target(vm)
        return lambda seconds: call(disk, copy, seconds)

    return prepare


def snapshot(call: Callable[[VM, Sequence[Node], float | None], object]) -> Prepare:
    """A verb of a machine's snapshots."""

    def prepare(vm: VM, folder: Path) -> Call:
        nodes = [source(vm)]
        return lambda seconds: call(vm, nodes, seconds)

    return prepare


def backup_of(call: Callable[[Backup, float | None], object]) -> Prepare:
    """A backup of one disk."""

    def prepare(vm: VM, folder: Path) -> Call:
        image = Image(folder / "base-of-it.qcow2", format="qcow2")
        image.create(32 * MIB)
        backup = Backup(vm, persistent=False)
        backup.add_disk(source(vm), Image(folder / "new.qcow2", format="qcow2"), base=image)
        return lambda seconds: call(backup, seconds)

    return prepare


def disk_verb(call: Callable[[Disk, Path, float | None], object]) -> Prepare:
    """A verb of a disk."""

    def prepare(vm: VM, folder: Path) -> Call:
        disk = Disk(vm, source(vm))
        return lambda seconds: call(disk, folder, seconds)

    return prepare


CALLS: Mapping[str, Prepare] = {
    "Backup.differential": backup_of(lambda backup, s: backup.differential(timeout=s)),
    "Backup.full": backup_of(lambda backup, s: backup.full(timeout=s)),
    "Backup.incremental": backup_of(lambda backup, s: backup.incremental(timeout=s)),
    "BlockLayer.attach": simple(lambda _, folder, s: BlockLayer.attach(folder / "qmp", timeout=s)),
    "BlockLayer.create": simple(
        lambda vm, _, s: vm.create(BlockdevCreateOptionsQcow2(file="u", size=MIB), timeout=s)
    ),
    "Disk.commit": disk_verb(lambda disk, _, s: disk.commit(timeout=s)),
    "Disk.flatten": disk_verb(lambda disk, _, s: disk.flatten(timeout=s)),
    "Disk.move": disk_verb(
        lambda disk, folder, s: disk.move(Image(folder / "new", format="raw"), timeout=s)
    ),
    "Node.amend": copying(lambda node, _, s: node.amend(BlockdevAmendOptionsQcow2(), timeout=s)),
    "Node.backup": copying(lambda node, copy, s: node.backup(copy, timeout=s)),
    "Node.commit": copying(lambda node, _, s: node.commit(timeout=s)),
    "Node.mirror": copying(lambda node, copy, s: node.mirror(copy, timeout=s)),
    "Node.stream": copying(lambda node, _, s: node.stream(timeout=s)),
    "StorageMigration.migrate": simple(
        lambda vm, _, s: StorageMigration(vm, vm).migrate(timeout=s)
    ),
    "VM.delete_snapshot": snapshot(
        lambda vm, nodes, s: vm.delete_snapshot("t", nodes=nodes, timeout=s)
    ),
    "VM.load_snapshot": snapshot(
        lambda vm, nodes, s: vm.load_snapshot("t", vmstate=nodes[0], nodes=nodes, timeout=s)
    ),
    "VM.save_snapshot": snapshot(
        lambda vm, nodes, s: vm.save_snapshot("t", vmstate=nodes[0], nodes=nodes, timeout=s)
    ),
    "Device.remove": simple(lambda vm, _, s: vm.device("nobody").remove(timeout=s)),
    "EventStream.get": simple(lambda vm, _, s: vm.qmp.events(JobStatusChange).get(timeout=s)),
    "Export.delete": delete_an_export,
    "ExportServer.stop": stop_an_export_server,
    "Job.cancel": job_verb(lambda job, s: job.cancel(timeout=s)),
    "Job.complete": job_verb(lambda job, s: job.complete(timeout=s)),
    "Job.dismiss": job_verb(lambda job, s: job.dismiss(timeout=s)),
    "Job.finalize": job_verb(lambda job, s: job.finalize(timeout=s)),
    "Job.pause": job_verb(lambda job, s: job.pause(timeout=s)),
    "Job.resume": job_verb(lambda job, s: job.resume(timeout=s)),
    "Job.run": run_a_job,
    "Job.run: pre_finalize": run_a_job_with_pre_finalize,
    "Job.run: of a mirror": run_a_ready_mirror,
    "Job.set_speed": job_verb(lambda job, s: job.set_speed(1, timeout=s)),
    "Job.wait": job_verb(lambda job, s: job.wait(timeout=s)),
    "Migration.run": run_a_migration,
    "Node.qemu_io": simple(lambda vm, _, s: vm.node("nobody").qemu_io("length", timeout=s)),
    "Operation.run: of a backup": back_up_three_disks,
    "Operation.run: of a move": move_a_disk,
    "Process.wait": simple(lambda vm, _, s: vm.process.wait(timeout=s)),
    "Qmp.connect": simple(lambda _, folder, s: Qmp.connect(folder / "qmp", timeout=s)),
    "Qmp.execute": simple(lambda vm, _, s: vm.qmp.execute(QueryStatus(), timeout=s)),
    "Qmp.execute_raw": simple(lambda vm, _, s: vm.qmp.execute_raw("query-status", timeout=s)),
    "Qmp.execute_with_fd": simple(
        lambda vm, _, s: vm.qmp.execute_with_fd(Getfd(fdname="f"), 0, timeout=s)
    ),
    "Qmp.wait_lost": simple(lambda vm, _, s: vm.qmp.wait_lost(timeout=s)),
    "StorageDaemon.attach": simple(
        lambda _, folder, s: StorageDaemon.attach(folder / "qmp", timeout=s)
    ),
    "Transaction.commit": commit_backups,
    "VM.attach": simple(lambda _, folder, s: VM.attach(folder / "qmp", timeout=s)),
    "BlockLayer.clear_leftovers": simple(lambda vm, _, s: vm.clear_leftovers(timeout=s)),
    "VM.hmp": simple(lambda vm, _, s: vm.hmp("info status", timeout=s)),
    "VM.hmp_qemu_io": simple(lambda vm, _, s: vm.hmp_qemu_io("x", "length", timeout=s)),
    "VM.qtest": simple(lambda vm, _, s: vm.qtest("clock_step", timeout=s)),
    "VM.reset": simple(lambda vm, _, s: vm.reset(timeout=s)),
    "VM.wait_migration": simple(lambda vm, _, s: vm.wait_migration(timeout=s)),
    "VM.wait_run_state": simple(lambda vm, _, s: vm.wait_run_state("shutdown", timeout=s)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_ends_within_its_limit_while_qemu_stands_still(
    name: str, vm: VM, folder: Path
) -> None:
    if name == "VM.qtest":
        with VM() as own:
            # The channel is there with the accelerator of that name only.
            lacks = own.query_accelerator() != "qtest"
            assert_ends(own, CALLS[name](own, folder), Unsupported if lacks else DeadlineExceeded)
    else:
        assert_ends(vm, CALLS[name](vm, folder), DeadlineExceeded)


def assert_ends(vm: VM, call: Call, expected: type[BlockSdkError]) -> None:
    with suspended(vm), in_time(), pytest.raises(expected) as caught:
        call(LIMIT)
    assert getattr(caught.value, "seconds", LIMIT) == LIMIT


@contextlib.contextmanager
def interrupted() -> Generator[None]:
    """Ctrl-C comes, and nobody ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(LIMIT, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"VM.qtest"}))
def test_ctrl_c_ends_a_call_in_time_while_qemu_stands_still(
    name: str, vm: VM, folder: Path
) -> None:
    call = CALLS[name](vm, folder)
    with suspended(vm), in_time(), interrupted():
        call(None)


@pytest.mark.parametrize("kind", ["mirror", "commit"])
def test_a_job_that_ends_by_switching_is_cancelled_at_the_limit_and_never_completed(
    kind: str, vm: VM, folder: Path
) -> None:
    base, top = (Image(folder / f"base-{kind}-{n}", format="qcow2") for n in (0, 1))
    base.create(MIB)
    top.create(backing=base)
    disk = vm.add_chain(top.chain_options("u-top"))
    with (
        disk.start_mirror(target(vm, size=MIB)) if kind == "mirror" else disk.start_commit() as job
    ):
        job.wait(until="ready")
        with suspended(vm), in_time(), pytest.raises(DeadlineExceeded):
            job.run(timeout=LIMIT)
        with pytest.raises(JobCancelled):
            job.wait(timeout=5)
    disk.delete()


def test_all_parts_clean_up_at_once(vm: VM) -> None:
    jobs = [source(vm, f"u{n}").start_backup(target(vm, f"ut{n}")) for n in range(4)]
    with suspended(vm), in_time(0.0), contextlib.suppress(ZeroDivisionError):  # noqa: SIM117
        with jobs[0], jobs[1], jobs[2], jobs[3]:
            raise ZeroDivisionError


def test_what_qemu_did_not_answer_in_time_is_not_forgotten_by_a_short_command_limit(
    vm: VM, folder: Path
) -> None:
    async def main() -> None:
        async with AsyncStorageDaemon(command_timeout=0.1) as daemon:
            slow = await daemon.add_node(NullCo(node_name="s", size=MIB, latency_ns=10**9))
            job = await slow.start_backup(await daemon.add_node(NullCo(node_name="t", size=MIB)))
            with suspended(daemon), in_time(), pytest.raises(DeadlineExceeded):
                await job.run(timeout=LIMIT)
            with pytest.raises(JobCancelled):
                await job.wait(timeout=5)
            assert await daemon.qmp.execute_raw("query-jobs") == []

    asyncio.run(main())


_LOOP = """
import asyncio, os, signal
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Raw, Throttle
from qemu_blocksdk.errors import DeadlineExceeded
from qemu_blocksdk.qmp import cancellation

cancellation.CLEANUP_TIMEOUT = 0.1

async def main():
    await daemon.launch()
    slow = await daemon.add_node(NullCo(node_name="s", size=1 << 20, latency_ns=10**9))
    job = await slow.start_backup(await daemon.add_node(NullCo(node_name="t", size=1 << 20)))
    os.kill(daemon.process.pid, signal.SIGSTOP)
    await job.run(timeout=0.1)

daemon = AsyncStorageDaemon()
try:
    asyncio.run(main())
except DeadlineExceeded as error:
    print(error.seconds)
"""


def test_a_loop_that_ends_does_not_wait_for_a_clean_up(tmp_path: Path) -> None:
    with Script(tmp_path, _LOOP) as script:
        assert script.finish(timeout=10, may_complain=True) == "0.1\n"


def test_a_stop_of_a_qemu_that_stands_still_waits_once(folder: Path) -> None:
    daemon = StorageDaemon()
    daemon.launch()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    with in_time(LIMIT):
        assert daemon.stop(grace=LIMIT) == -signal.SIGKILL


# -- a tool stands still ------------------------------------------------------------------------


@pytest.fixture
def stopping(tmp_path: Path) -> Programs:
    """Tools that stop before they do anything."""
    names: dict[str, list[str]] = {}
    for name in ("qemu-img", "qemu-io", "qemu-nbd"):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nkill -STOP $$\nexec {name} "$@"\n')
        path.chmod(0o755)
        names[name.replace("-", "_")] = [str(path)]
    return Programs(**names)


Tool = Callable[[Image, Programs, float], object]

TOOLS: Mapping[str, Tool] = {
    "Image.amend": lambda image, _, s: image.amend(AmendQcow2(compat="1.1"), timeout=s),
    "Image.commit": lambda image, _, s: image.commit(timeout=s),
    "Image.compare": lambda image, _, s: image.compare(image, force_share=True, timeout=s),
    "Image.convert": lambda image, p, s: image.convert(
        Image(image.path.with_name("new"), format="qcow2", programs=p), timeout=s
    ),
    "Image.rebase": lambda image, _, s: image.rebase(None, timeout=s),
    "Image.apply_snapshot": lambda image, _, s: image.apply_snapshot("a", timeout=s),
    "Image.backing_chain": lambda image, _, s: image.backing_chain(timeout=s),
    "Image.bench": lambda image, _, s: image.bench(timeout=s),
    "Image.chain_options": lambda image, _, s: image.chain_options("n", timeout=s),
    "Image.check": lambda image, _, s: image.check(timeout=s),
    "Image.create": lambda image, p, s: Image(
        image.path.with_name("new"), format="qcow2", programs=p
    ).create("1M", timeout=s),
    "Image.create_snapshot": lambda image, _, s: image.create_snapshot("a", timeout=s),
    "Image.dd": lambda image, p, s: image.dd(
        Image(image.path.with_name("new"), format="qcow2", programs=p), timeout=s
    ),
    "Image.delete_snapshot": lambda image, _, s: image.delete_snapshot("a", timeout=s),
    "Image.info": lambda image, _, s: image.info(timeout=s),
    "Image.map": lambda image, _, s: image.map(timeout=s),
    "Image.measure": lambda image, _, s: image.measure("qcow2", timeout=s),
    "Image.measure_size": lambda _, p, s: Image.measure_size(MIB, "qcow2", programs=p, timeout=s),
    "Image.repair": lambda image, _, s: image.repair("all", timeout=s),
    "Image.resize": lambda image, _, s: image.resize("2M", timeout=s),
    "Image.snapshots": lambda image, _, s: image.snapshots(timeout=s),
    "Image.write_bench": lambda image, _, s: image.write_bench(timeout=s),
    "NbdServer.__init__": lambda image, _, s: NbdServer(image, launch_timeout=s).launch(),
    "NbdServer.fork": lambda image, _, s: NbdServer(
        image, address=image.path.with_name("sock")
    ).fork(timeout=s),
    "NbdServer.list_exports": lambda image, p, s: NbdServer.list_exports(
        "nbd://localhost", programs=p, timeout=s
    ),
    "Operation.run": lambda image, p, s: image.convert(
        Image(image.path.with_name("new"), format="qcow2", programs=p), timeout=s
    ),
    "Operation.progress": lambda image, p, s: finish_after(
        image.start_convert(Image(image.path.with_name("new"), format="qcow2", programs=p)),
        lambda operation: list(operation.progress(timeout=s)),
    ),
    "Operation.wait": lambda image, p, s: finish_after(
        image.start_convert(Image(image.path.with_name("new"), format="qcow2", programs=p)),
        lambda operation: operation.wait(timeout=s),
    ),
    "QemuIo.__init__": lambda image, _, s: QemuIo(image, timeout=s).open(),
    "Toolchain.__init__": lambda _, p, s: Toolchain(p, timeout=s).query_version("qemu_img"),
}


def finish_after(operation: Operation[None], call: Callable[[Operation[None]], object]) -> None:
    with operation:
        call(operation)


@pytest.mark.parametrize("name", TOOLS)
def test_a_call_ends_within_its_limit_while_a_tool_stands_still(
    name: str, stopping: Programs, tmp_path: Path
) -> None:
    Image(tmp_path / "disk", format="qcow2").create("1M")
    before, running = set(tmp_path.iterdir()), children()
    image = Image(tmp_path / "disk", format="qcow2", programs=stopping)
    with in_time(), pytest.raises((DeadlineExceeded, LaunchError)) as caught:
        TOOLS[name](image, stopping, LIMIT)
    if isinstance(caught.value, DeadlineExceeded):
        assert caught.value.seconds == LIMIT
    else:
        assert f"within {LIMIT:g} s" in str(caught.value)
    assert set(tmp_path.iterdir()) == before
    assert children() == running


def test_the_turn_of_a_question_is_inside_of_its_limit(stopping: Programs, tmp_path: Path) -> None:
    Image(tmp_path / "disk", format="qcow2").create("1M")
    image = AsyncImage(tmp_path / "disk", format="qcow2", programs=stopping)

    async def main() -> None:
        questions = [image.info(timeout=LIMIT) for _ in range(4 * (os.cpu_count() or 1))]
        for outcome in await asyncio.gather(*questions, return_exceptions=True):
            assert isinstance(outcome, DeadlineExceeded)
            assert outcome.seconds == LIMIT

    with in_time():
        asyncio.run(main())


def test_a_request_of_qemu_io_waits_for_its_turn_within_its_limit(tmp_path: Path) -> None:
    Image(tmp_path / "disk", format="raw").create("1M")
    with QemuIo(Image(tmp_path / "disk", format="raw"), timeout=30) as io:
        thread = threading.Thread(target=lambda: io.sleep(1.0))
        thread.start()
        with in_time(), pytest.raises(DeadlineExceeded):
            io.raw("length", timeout=LIMIT)
        thread.join()


# -- that is all of them ------------------------------------------------------------------------

WAITS = {
    "Job.change": "one command, as Job.set_speed: from QEMU 8.2",
    "Export.wait_deleted": "waits for an event: test_export",
    "Migration.cancel": "as Migration.run, which calls it",
    "Migration.wait": "waits for an event: test_migration",
    "NbdDaemon.wait": "waits for a process: test_nbd_daemon",
    "Qmp.over": "refuses a QMPClient; AsyncQmp.over: tests/unit/qmp/test_client_transport.py",
    "NbdServer.wait": "waits for a process: test_nbd_server",
    "QemuIo.raw": "test_a_request_of_qemu_io_waits_for_its_turn_within_its_limit",
    "QemuIo.wait_break": "as QemuIo.raw: test_qemu_io",
}


def test_the_tables_have_every_limit_of_the_public_api() -> None:
    found = set[str]()
    for cls in (getattr(qemu_blocksdk, name) for name in qemu_blocksdk.__all__):
        for name, member in inspect.getmembers(cls, callable) if inspect.isclass(cls) else ():
            if name == "__init__" or not name.startswith("_"):
                with contextlib.suppress(ValueError, TypeError):
                    names = set(inspect.signature(member).parameters)
                    if names & {"timeout", "launch_timeout"}:
                        found.add(member.__qualname__)
    tested = {name.partition(":")[0] for name in (*CALLS, *TOOLS, *WAITS)}
    assert tested == found
