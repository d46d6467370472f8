"""What a client leaves that is killed, in a QEMU that is not its own; and how it is removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Backup, Image, StorageDaemon
from qemu_blocksdk.aio import AsyncStorageDaemon
from qemu_blocksdk.blockdev import File, NullCo, Qcow2, Throttle
from qemu_blocksdk.errors import CommandError, UsageError
from qemu_blocksdk.qmp import owner
from qemu_blocksdk.tools.private_directory import is_in_use
from qemu_blocksdk.wire import (
    BlockExportAdd,
    BlockExportOptionsNbd,
    ObjectOptionsThrottleGroup,
    QomList,
    QueryBlock,
    QueryBlockExports,
    QueryJobs,
    ThrottleLimits,
)
from tests.live.helpers import MakeImage, Script, are_equal, wait_until

pytestmark = pytest.mark.timeout(240)  # a LUKS header takes seconds of the processor


BEGIN = """
import sys, time
from pathlib import Path
from qemu_blocksdk import *
from qemu_blocksdk.tools import *
kind, folder = sys.argv[1], Path(sys.argv[2])
qemu = (VM if kind == "VM" else StorageDaemon).attach(folder / "monitor")
disk = qemu.node("disk")
image = lambda name, **more: Image(folder / name, format="qcow2", **more)
def stay():
    print("ready", flush=True)
    time.sleep(60)
"""

BACKUP = """
backup = Backup(qemu)
backup.add_disk(disk, image("copy.qcow2"))
backup.full()
"""
JOB = "a job runs"
"""Where the client does not say that it is ready: what the test waits for."""

QUICKLY = """
import shutil
from qemu_blocksdk.aio import AsyncImage
from qemu_blocksdk.tools.atomic_write import atomic_write
async def create(self, *_, published, **__):
    with atomic_write(self.path, published=published) as draft:
        shutil.copy(folder / "scripts" / "header.qcow2", draft)
AsyncImage._create = create
"""
"""Spare the time that a LUKS header takes."""

CLIENTS = {
    "backup": (BACKUP, JOB),
    "encrypted backup": (
        QUICKLY
        + """
backup = Backup(qemu)
backup.add_disk(disk, image("copy.qcow2", secret=Secret("s3cr3t")))
backup.full()
""",
        JOB,
    ),
    "move": ("Disk(qemu, disk).move(image('copy.qcow2'))", JOB),
    "encrypted move": (
        QUICKLY + "Disk(qemu, disk).move(image('copy.qcow2', secret=Secret('s3cr3t')))",
        JOB,
    ),
    "point in time": (
        """
with PointInTime(qemu, disk, device="d0" if kind == "VM" else None, scratch_folder=folder):
    stay()
""",
        "",
    ),
    "point in time without its export": (
        """
with PointInTime(qemu, disk, device="d0" if kind == "VM" else None, scratch_folder=folder):
    qemu.query_exports()[0].delete()
    stay()
""",
        "",
    ),
    "export": (
        """
with qemu.start_nbd_server(folder / "nbd.sock") as server, server.export(disk):
    stay()
""",
        "",
    ),
    "export at a socket of its own": (
        """
with qemu.start_nbd_server() as server, server.export(disk):
    stay()
""",
        "",
    ),
    "export with TLS": (
        """
with qemu.start_nbd_server(("localhost", 0), tls=TlsAnon()) as server, server.export(disk):
    stay()
""",
        "",
    ),
    "a server alone": ("with qemu.start_nbd_server(): stay()", ""),
    "a job that is ready": (
        """
with disk.start_mirror(qemu.node("null"), sync="top") as job:
    job.wait(until="ready")
    stay()
""",
        "",
    ),
    "a job that waits": (
        """
with disk.start_mirror(qemu.node("null"), sync="none", auto_finalize=False) as job:
    job.wait(until="ready")
    job.cancel(force=False)
    assert job.status == "pending", job
    stay()
""",
        "",
    ),
    "a job that is paused": (
        """
with disk.start_backup(qemu.node("null")) as job:
    job.pause()
    stay()
""",
        "",
    ),
    "a job that is over": (
        """
with disk.start_backup(qemu.node("null"), sync="none", auto_dismiss=False) as job:
    job.cancel()
    stay()
""",
        "",
    ),
    "a transaction": (
        """
step = qemu.transaction(completion_mode="grouped")
step.backup(disk, qemu.node("null"))
job, = step.commit()
stay()
""",
        "",
    ),
}


class Foreign:
    """A QEMU with a slow disk that a client attaches to; the test is its owner."""

    def __init__(self, qemu: StorageDaemon | VM, folder: Path, make_image: MakeImage) -> None:
        self.qemu = qemu
        self.folder = folder
        self.path = make_image("disk.qcow2", write="-P 1 0 8M")
        limits = ThrottleLimits(bps_read=4 << 20)
        qemu.add_object(ObjectOptionsThrottleGroup(id="slow", limits=limits))
        slow = Throttle(throttle_group="slow", file=File(filename=str(self.path)))
        self.disk = qemu.add_node(Qcow2(node_name="disk", file=slow))
        qemu.add_node(NullCo(node_name="null", size=16 << 20))
        if isinstance(qemu, VM):
            qemu.plug(self.disk, device="virtio-scsi", id="d0")
        self.scripts = folder / "scripts"
        self.scripts.mkdir()
        self.before = self.state()

    @property
    def kind(self) -> str:
        """The class of the QEMU."""
        return type(self.qemu).__name__

    def state(self) -> dict[str, object]:
        """All that a client may leave, in QEMU and beside the disk."""
        qmp = self.qemu.qmp
        return {
            "jobs": [job.id for job in qmp.execute(QueryJobs())],
            "exports": [export.id for export in qmp.execute(QueryBlockExports())],
            "nodes": sorted(n.name for n in self.qemu.graph().nodes if n.name[:1] not in "#"),
            "bitmaps": sorted(
                (node, info.name or "")
                for node, infos in self.qemu.query_bitmaps().items()
                for info in infos
                if info.name  # of a job it has none
            ),
            "objects": sorted(each.name for each in qmp.execute(QomList(path="/objects"))),
            "drives": [
                (info.qdev, info.inserted and info.inserted.node_name)
                for info in qmp.execute(QueryBlock())
            ],
            "files": sorted(path.name for path in self.folder.iterdir()),
        }

    def client(self, code: str) -> Script:
        """Start a client."""
        return Script(self.scripts, BEGIN + code, self.kind, str(self.folder))

    @contextlib.contextmanager
    def client_at_work(self, code: str, until: str) -> Generator[Script]:
        """Start a client and wait until it is where it is to be killed."""
        with self.client(code) as client:
            if until == JOB:
                wait_until(lambda: bool(self.qemu.qmp.execute(QueryJobs())), what=until, timeout=20)
            else:
                assert client.line() == "ready"
            yield client

    def assert_clean(self) -> None:
        """Nothing is left, and the disk is as good as before."""
        assert self.qemu.leftovers() == []
        assert self.state() == self.before
        backup = Backup(self.qemu)
        whole = Image(self.folder / "whole.qcow2", format="qcow2")
        backup.add_disk(self.disk, whole)
        self.qemu.throttle_group("slow").set_limits(ThrottleLimits(bps_read=0))
        backup.full(timeout=30)
        assert are_equal(whole.path, self.path)


@pytest.fixture
def foreign(
    request: pytest.FixtureRequest, tmp_path: Path, make_image: MakeImage
) -> Generator[Foreign]:
    """A QEMU that a client attaches to."""
    monitors = [tmp_path / "monitor"]
    # On qtest, the clock stands still, and so does a throttled disk.
    is_vm = request.param is VM
    with (
        VM(monitors=monitors, accelerator="tcg")
        if is_vm
        else StorageDaemon(monitors=monitors) as qemu
    ):
        yield Foreign(qemu, tmp_path, make_image)


BOTH = pytest.mark.parametrize("foreign", [VM, StorageDaemon], indirect=True)
ONE = pytest.mark.parametrize("foreign", [StorageDaemon], indirect=True)
ON_A_VM = ("backup", "move", "point in time", "point in time without its export")
"""Where a guest's device makes a difference."""


@pytest.mark.parametrize(
    ("foreign", "name"),
    [*((StorageDaemon, name) for name in CLIENTS), *((VM, name) for name in ON_A_VM)],
    indirect=["foreign"],
)
def test_what_a_killed_client_leaves_is_listed_and_removed(
    foreign: Foreign, name: str, request: pytest.FixtureRequest
) -> None:
    code, until = CLIENTS[name]
    if QUICKLY in code:
        headers: Path = request.getfixturevalue("encrypted_headers")
        shutil.copy(headers / "header.qcow2", foreign.scripts)
    with foreign.client_at_work(code, until) as client:
        # It is alive, so nobody touches its things.
        assert foreign.qemu.leftovers() == []
        assert foreign.qemu.clear_leftovers(force=True) == []
        client.kill()
    left = foreign.qemu.leftovers()
    assert left
    assert all(each.is_proven for each in left), left
    assert sorted(map(str, foreign.qemu.clear_leftovers())) == sorted(map(str, left))
    foreign.assert_clean()


MOVE = """
Disk(qemu, disk).move(image("copy.qcow2"), replace=True)
"""


@ONE
@pytest.mark.parametrize("somebody", ["", "else's"])
def test_a_killed_move_gives_back_the_file_that_it_replaced(
    foreign: Foreign, somebody: str
) -> None:
    copy = foreign.folder / "copy.qcow2"
    copy.write_text("old")
    with foreign.client_at_work(MOVE, JOB) as client:
        assert copy.read_bytes() != b"old"
        client.kill()
    if somebody:
        copy.unlink()
        copy.write_text(somebody)
    # While QEMU has it open, it is not taken away.
    Image(foreign.folder / "next", format="raw").create("1M")
    (foreign.folder / "next").unlink()
    assert copy.read_bytes()[:3] == (b"els" if somebody else b"QFI")
    foreign.qemu.clear_leftovers()
    assert copy.read_text() == (somebody or "old")
    copy.unlink()
    foreign.assert_clean()


MOVE_IN_A_QEMU_OF_ITS_OWN = """
import sys, time
from pathlib import Path
from qemu_blocksdk import *
from qemu_blocksdk.blockdev import *
from qemu_blocksdk.wire import *
source, target = map(Path, sys.argv[1:])
with StorageDaemon() as qemu:
    qemu.add_throttle_group("slow", limits=ThrottleLimits(bps_read=1 << 20))
    slow = Throttle(throttle_group="slow", file=File(filename=str(source)))
    disk = Disk(qemu, qemu.add_node(Qcow2(node_name="disk", file=slow)))
    move = disk.start_move(Image(target, format="raw"), replace=True)
    while not qemu.query_jobs():
        time.sleep(0.01)
    print("ready", flush=True)
    move.wait()
"""


@pytest.mark.parametrize("content", ["old", None])
def test_a_move_that_was_killed_with_its_qemu_is_undone_by_the_next_call_there(
    tmp_path: Path, make_image: MakeImage, content: str | None
) -> None:
    source = make_image("disk.qcow2", write="-P 1 0 8M")
    target, other = tmp_path / "target", tmp_path / "other"
    other.write_text("other")
    if content is not None:
        target.write_text(content)
    with Script(tmp_path, MOVE_IN_A_QEMU_OF_ITS_OWN, str(source), str(target)) as client:
        assert client.line() == "ready"
        client.kill()
    assert list(tmp_path.glob(".blocksdk-*"))
    wait_until(lambda: not is_in_use(target), what="the end of QEMU")
    with pytest.raises(UsageError, match="exists already"):
        Image(other, format="raw").create("1M")
    assert not list(tmp_path.glob(".blocksdk-*"))
    assert (target.read_text() if target.exists() else None) == content


@BOTH
def test_the_next_backup_removes_what_a_killed_one_left(foreign: Foreign) -> None:
    with foreign.client_at_work(*CLIENTS["backup"]) as client:
        client.kill()
    with foreign.client(BACKUP + "print('done', flush=True); qemu.stop()") as client:
        assert client.line() == "done"
        client.finish()
    assert are_equal(foreign.folder / "copy.qcow2", foreign.path)
    assert foreign.qemu.leftovers() == []
    names = {info.name for info in foreign.qemu.query_bitmaps()["disk"]}
    assert names == {"backup", "backup-full"}
    state, before = foreign.state(), dict(foreign.before)
    for changed in ("bitmaps", "files"):
        del state[changed], before[changed]
    assert state == before
    assert not list(foreign.folder.glob(".blocksdk-*"))


@ONE
def test_backups_that_are_killed_anywhere_leave_nothing_to_the_next(foreign: Foreign) -> None:
    dice = random.Random(5)
    foreign.qemu.throttle_group("slow").set_limits(ThrottleLimits(bps_read=64 << 20))
    # Each is a child of one process that has all modules already.
    code = f"""
import os, signal, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
for seconds in {[dice.random() / 4 for _ in range(16)]}:
    (folder / "copy.qcow2").unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        qemu = StorageDaemon.attach(folder / "monitor")
        disk = qemu.node("disk")
        {BACKUP.replace(chr(10), chr(10) + "        ")}
        qemu.stop()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(status, flush=True)
"""
    with foreign.client("qemu.stop()" + code) as client:
        statuses = client.finish().split()
    assert str(signal.SIGALRM.value) in statuses
    assert set(statuses) <= {str(signal.SIGALRM.value), "0"}
    foreign.qemu.clear_leftovers()
    for bitmap in ("backup", "backup-full"):
        with contextlib.suppress(CommandError):
            foreign.disk.bitmap(bitmap).remove()
    (foreign.folder / "copy.qcow2").unlink(missing_ok=True)
    Image(foreign.folder / "next", format="raw").create(
        "1M"
    )  # removes drafts that QEMU had not opened
    (foreign.folder / "next").unlink()
    foreign.assert_clean()


@ONE
def test_an_owner_that_cannot_be_checked_counts_as_alive(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    with foreign.client_at_work(*CLIENTS["backup"]) as client:
        client.kill()
    state = foreign.state()
    (proof,) = {each.owner for each in foreign.qemu.leftovers()}
    # Another container, or another host: it has other files.
    monkeypatch.setattr(owner, "_PLACES", (str(foreign.scripts),))
    left = foreign.qemu.leftovers()
    assert left
    assert not any(each.is_proven for each in left)
    assert "whose owner cannot be checked" in str(left[0])
    assert foreign.qemu.clear_leftovers() == []
    backup = Backup(foreign.qemu)
    backup.add_disk(foreign.disk, Image(foreign.folder / "other.qcow2", format="qcow2"))
    with pytest.raises(UsageError, match=r"cannot be checked; .* clear_leftovers\(force=True\)"):
        backup.full(timeout=20)
    assert foreign.state() == state
    assert foreign.qemu.clear_leftovers(force=True) == left
    monkeypatch.undo()
    foreign.assert_clean()
    owner.forget_owner(proof)


@ONE
def test_a_client_that_is_stopped_is_alive(foreign: Foreign) -> None:
    with foreign.client_at_work(*CLIENTS["point in time"]) as client:
        os.kill(client.pid, signal.SIGSTOP)
        assert foreign.qemu.leftovers() == []
        assert foreign.qemu.clear_leftovers(force=True) == []
        os.kill(client.pid, signal.SIGCONT)
        client.kill()
    foreign.qemu.clear_leftovers()
    foreign.assert_clean()


@ONE
def test_what_a_client_that_ended_in_order_left_stays(foreign: Foreign) -> None:
    code = """
server = qemu.start_nbd_server(folder / "nbd.sock")
print(server.export(qemu.node("null")).id)
"""
    with foreign.client(code) as client:
        export = client.line()
        client.finish()
    backup = Backup(foreign.qemu)
    backup.add_disk(foreign.disk, Image(foreign.folder / "copy.qcow2", format="qcow2"))
    foreign.qemu.throttle_group("slow").set_limits(ThrottleLimits(bps_read=0))
    backup.full(timeout=30)
    left = foreign.qemu.leftovers()
    assert [each.kind for each in left] == ["export", "nbd-server"]
    assert not any(each.is_proven for each in left)
    assert foreign.qemu.clear_leftovers() == []
    assert [each.id for each in foreign.qemu.query_exports()] == [export]
    assert foreign.qemu.clear_leftovers(force=True) == left


@ONE
def test_what_others_use_or_named_stays(foreign: Foreign) -> None:
    with foreign.client_at_work(*CLIENTS["export"]) as client:
        client.kill()
    # Somebody shares the server of the dead client; and somebody's names look like ours.
    foreign.qemu.add_node(NullCo(node_name="blocksdk-disk", size=1 << 20))
    foreign.disk.add_bitmap("blocksdk-12345678")
    command = BlockExportAdd(options=BlockExportOptionsNbd(id="theirs", node_name="null"))
    foreign.qemu.qmp.execute(command)
    removed = foreign.qemu.clear_leftovers()
    assert [each.kind for each in removed] == ["export"]
    assert [each.kind for each in foreign.qemu.leftovers()] == ["nbd-server"]
    assert [each.id for each in foreign.qemu.query_exports()] == ["theirs"]
    foreign.qemu.query_exports()[0].delete()
    assert [each.kind for each in foreign.qemu.clear_leftovers()] == ["nbd-server"]
    foreign.qemu.node("blocksdk-disk").delete()
    foreign.disk.bitmap("blocksdk-12345678").remove()
    foreign.assert_clean()


@ONE
def test_a_leftover_that_somebody_uses_is_named(foreign: Foreign) -> None:
    with foreign.client_at_work(*CLIENTS["point in time"]) as client:
        client.kill()
    front = next(node for node in foreign.qemu.graph().nodes if node.driver == "copy-before-write")
    with (
        foreign.qemu.start_nbd_server(foreign.folder / "theirs.sock")
        if not foreign.qemu.query_exports()
        else contextlib.nullcontext()
    ):
        command = BlockExportOptionsNbd(id="theirs", node_name=front.name, writable=True)
        foreign.qemu.qmp.execute(BlockExportAdd(options=command))
        with pytest.raises(CommandError, match="in use"):
            foreign.qemu.clear_leftovers()
        foreign.qemu.query_exports()[0].delete()
    foreign.qemu.clear_leftovers()
    foreign.assert_clean()


def test_both_faces_list_and_clear(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStorageDaemon() as daemon:
            assert await daemon.leftovers() == []
            assert await daemon.clear_leftovers(force=True, timeout=5) == []

    asyncio.run(main())
