"""The backup recipe: full, incremental, differential, several disks, and what a failure leaves."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import Backup, Image, Node, StorageDaemon
from qemu_blocksdk.aio import AsyncBackup, AsyncImage, AsyncStorageDaemon, AsyncTransaction
from qemu_blocksdk.blockdev import File, NullCo, Qcow2, Throttle
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    GraphError,
    JobFailed,
    ToolError,
    TransactionFailed,
    UsageError,
)
from qemu_blocksdk.recipes.backup import _Images
from qemu_blocksdk.tools import CreateQcow2, CreateRaw
from qemu_blocksdk.wire import (
    BlockDirtyBitmap,
    JobStatusChange,
    ObjectOptionsThrottleGroup,
    QueryJobs,
    ThrottleLimits,
)
from tests.live.helpers import MakeImage, Script, are_equal, run, write_with_qemu_io

pytestmark = pytest.mark.timeout(60)

MIB = 1 << 20


class Disks:
    """Two disks of a daemon, written to at random; copies of their content to compare with."""

    def __init__(self, daemon: StorageDaemon, folder: Path, make_image: MakeImage) -> None:
        self.daemon = daemon
        self.folder = folder
        self._random = random.Random(7)
        self.nodes: list[Node] = []
        for name in ("one", "two"):
            image = Image(make_image(f"{name}.qcow2", write="-P 1 0 8M"), format="qcow2")
            self.nodes.append(daemon.add_node(image.options(name)))

    def change(self) -> None:
        """Write here and there on both disks."""
        for node in self.nodes:
            with (
                self.daemon.start_nbd_server() as server,
                server.export(node, writable=True) as export,
            ):
                writes = [
                    f"write -P {self._random.randrange(256)} {self._random.randrange(240)}k 9k",
                    f"write -P {self._random.randrange(256)} {self._random.randrange(15)}M 64k",
                ]
                write_with_qemu_io(str(export.uri), *writes, fmt="raw")

    def copied(self, label: str) -> list[Path]:
        """Copy what the disks hold now, by another way than a backup job."""
        copies = [self.folder / f"{label}-{node.name}.raw" for node in self.nodes]
        for node, path in zip(self.nodes, copies, strict=True):
            with self.daemon.start_nbd_server() as server, server.export(node) as export:
                run("qemu-img", "convert", "-f", "raw", "-O", "raw", str(export.uri), path)
        return copies

    def backup(self, label: str, base: str | None = None) -> Backup:
        """Describe a backup of both."""
        backup = Backup(self.daemon)
        for node in self.nodes:
            on = None if base is None else self.image(base, node)
            backup.add_disk(node, self.image(label, node), base=on)
        return backup

    def image(self, label: str, node: Node) -> Image:
        """The image of a backup."""
        return Image(self.folder / f"{label}-{node.name}.qcow2", format="qcow2")

    def assert_backed_up(self, label: str, copies: list[Path]) -> None:
        """The images hold what the copies do."""
        for node, copy in zip(self.nodes, copies, strict=True):
            assert are_equal(self.image(label, node).path, copy)

    def bitmaps(self) -> set[tuple[str, str | None]]:
        """The bitmaps of all nodes."""
        found = self.daemon.query_bitmaps()
        return {(node, info.name) for node, infos in found.items() for info in infos}

    def assert_clean(self) -> None:
        """No job, no node, no hidden folder is left of a backup."""
        assert self.daemon.qmp.execute(QueryJobs()) == []
        assert not [node for node in self.daemon.graph().nodes if node.name.startswith("blocksdk")]
        assert not list(self.folder.glob(".blocksdk-*"))


@pytest.fixture
def disks(daemon: StorageDaemon, tmp_path: Path, make_image: MakeImage) -> Disks:
    """Two disks with data."""
    return Disks(daemon, tmp_path, make_image)


def test_full_incremental_and_differential_backups_restore_their_moment(disks: Disks) -> None:
    full = disks.copied("was-full")
    disks.backup("full").full(timeout=30)
    disks.change()
    first = disks.copied("was-first")
    disks.backup("first", base="full").incremental(timeout=30)
    disks.change()
    second = disks.copied("was-second")
    disks.backup("second", base="first").incremental(timeout=30)
    disks.change()
    third = disks.copied("was-third")
    disks.backup("third", base="full").differential(timeout=30)
    for label, copies in (("full", full), ("first", first), ("second", second), ("third", third)):
        disks.assert_backed_up(label, copies)
    depth = Image(disks.folder / "third-one.qcow2", format="qcow2").info().backing_filename
    assert depth == str(disks.folder / "full-one.qcow2")
    sizes = [disks.image(label, disks.nodes[0]).path.stat().st_size for label in ("full", "first")]
    assert sizes[1] < sizes[0] / 4
    names = {(node.name, name) for node in disks.nodes for name in ("backup", "backup-full")}
    assert disks.bitmaps() == names
    assert disks.nodes[0].bitmap("backup").query_matches(persistent=True, recording=True)
    disks.assert_clean()


def test_what_is_written_meanwhile_is_in_the_next_one(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    before = disks.copied("before")
    disks.change()
    changed = disks.copied("changed")
    operation = disks.backup("first", base="full").start_incremental()
    disks.change()  # while it runs, or just after
    operation.run(timeout=30)
    last = disks.copied("last")
    disks.backup("second", base="first").incremental(timeout=30)
    disks.assert_backed_up("second", last)
    disks.assert_backed_up("full", before)
    assert changed != last


def test_progress_comes_to_its_end(disks: Disks) -> None:
    readings: list[float] = []
    disks.backup("full").full(timeout=30, on_progress=lambda it: readings.append(it.fraction))
    assert readings[-1] == 1.0
    assert readings == sorted(readings)


def test_a_backup_that_fails_costs_nothing(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    disks.change()
    counts = [node.bitmap("backup").query_info().count for node in disks.nodes]
    broken = disks.backup("first", base="full")
    disks.nodes[1].bitmap("backup").remove()
    with pytest.raises(GraphError, match="bitmap 'backup'"):
        broken.incremental(timeout=30)
    disks.assert_clean()
    assert not disks.image("first", disks.nodes[0]).path.exists()
    assert disks.nodes[0].bitmap("backup").query_info().count == counts[0]
    # A full one mends it.
    copies = disks.copied("now")
    disks.backup("again").full(timeout=30)
    disks.assert_backed_up("again", copies)
    assert disks.nodes[1].bitmap("backup").query_matches(count=0)


def test_a_name_that_is_taken_is_refused_and_nothing_else_published(disks: Disks) -> None:
    taken = disks.image("full", disks.nodes[1]).path
    taken.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        disks.backup("full").full(timeout=30)
    assert taken.read_bytes() == b"precious"
    assert not disks.image("full", disks.nodes[0]).path.exists()
    assert disks.bitmaps() == set()
    disks.assert_clean()


def test_a_name_that_is_taken_meanwhile_undoes_all(disks: Disks) -> None:
    operation = disks.backup("full").start_full()
    taken = disks.image("full", disks.nodes[0]).path
    taken.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        operation.run(timeout=30)
    assert taken.read_bytes() == b"precious"
    assert not disks.image("full", disks.nodes[1]).path.exists()
    assert disks.bitmaps() == set()
    disks.assert_clean()


def test_a_full_disk_fails_the_backup_and_leaves_nothing(disks: Disks, full_disk: Path) -> None:
    backup = Backup(disks.daemon)
    backup.add_disk(disks.nodes[0], disks.image("good", disks.nodes[0]))
    backup.add_disk(disks.nodes[1], Image(full_disk / "bad.qcow2", format="qcow2"))
    with pytest.raises(JobFailed, match="No space left"):
        backup.full(timeout=30)
    assert not disks.image("good", disks.nodes[0]).path.exists()
    assert not list(full_disk.iterdir())
    assert disks.bitmaps() == set()
    disks.assert_clean()


def test_an_incremental_backup_needs_a_base_and_qcow2(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    with pytest.raises(UsageError, match="has no base"):
        disks.backup("first").incremental(timeout=30)
    backup = Backup(disks.daemon)
    raw = Image(disks.folder / "first.raw", format="raw")
    backup.add_disk(disks.nodes[0], raw, base=disks.image("full", disks.nodes[0]))
    with pytest.raises(UsageError, match="qcow2"):
        backup.incremental(timeout=30)


def test_a_full_backup_may_be_raw(disks: Disks) -> None:
    copies = disks.copied("now")
    backup = Backup(disks.daemon, persistent=False)
    target = Image(disks.folder / "full.raw", format="raw")
    backup.add_disk(disks.nodes[0], target)
    backup.full(timeout=30)
    assert target.path.read_bytes() == copies[0].read_bytes()
    assert disks.nodes[0].bitmap("backup").query_matches(persistent=False)


def test_a_backup_of_a_node_that_is_gone_says_so(disks: Disks) -> None:
    backup = Backup(disks.daemon)
    backup.add_disk(disks.daemon.node("nowhere"), disks.image("full", disks.nodes[0]))
    with pytest.raises(CommandError, match="nowhere"):
        backup.full(timeout=30)
    disks.assert_clean()


def test_a_backup_of_a_dead_qemu_leaves_no_file(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    disks.change()
    operation = disks.backup("first", base="full").start_incremental()
    disks.daemon.process.kill()
    with pytest.raises(ConnectionLost, match="killed by signal 9"):
        operation.run(timeout=30)
    assert not list(disks.folder.glob(".blocksdk-*"))
    assert not list(disks.folder.glob("first-*"))


def test_a_backup_that_is_cancelled_anywhere_leaves_nothing(
    tmp_path: Path, make_image: MakeImage
) -> None:
    source = AsyncImage(make_image("disk.qcow2", write="-P 1 0 8M"), format="qcow2")

    def assert_whole_or_absent(target: Path, *, finished: bool) -> None:
        assert target.exists() >= finished
        if target.exists():
            assert are_equal(source.path, target)
        assert not list(tmp_path.glob(".blocksdk-*"))

    async def main() -> None:
        dice = random.Random(3)
        cut = 0
        async with AsyncStorageDaemon() as daemon:
            node = await daemon.add_node(source.options("disk"))
            for turn in range(25):
                backup = AsyncBackup(daemon)
                target = tmp_path / f"copy-{turn}.qcow2"
                backup.add_disk(node, AsyncImage(target, format="qcow2"))
                operation = backup.start_full()
                with contextlib.suppress(DeadlineExceeded):
                    await operation.wait(timeout=dice.random() / 20)
                finished = operation.is_over
                await operation.cancel()
                cut += not finished
                assert_whole_or_absent(target, finished=finished)
                assert await daemon.qmp.execute(QueryJobs()) == []
                names = {node.name for node in (await daemon.graph()).nodes}
                assert {name for name in names if not name.startswith("#")} == {"disk"}
                bitmaps = (await daemon.query_bitmaps()).get("disk", ())
                assert {info.name for info in bitmaps} <= {"backup", "backup-full"}
        assert cut

    asyncio.run(main())


def test_two_backups_of_one_bitmap_do_not_mix(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    disks.change()
    copies = disks.copied("now")
    one = disks.backup("one", base="full").start_incremental()
    two = disks.backup("two", base="full").start_incremental()
    with pytest.raises(UsageError, match="another one is under way, of a client that is alive"):
        two.run(timeout=30)
    one.run(timeout=30)
    disks.assert_backed_up("one", copies)
    with pytest.raises(BlockSdkError):
        disks.backup("one", base="full").incremental(timeout=30)  # its name is taken
    disks.assert_clean()


# -- what is refused before the start -------------------------------------------------------


def _nothing(disks: Disks) -> Backup:
    return Backup(disks.daemon)


def _a_disk_twice(disks: Disks) -> Backup:
    backup = disks.backup("full")
    backup.add_disk(disks.daemon.node("one"), Image(disks.folder / "again.qcow2", format="qcow2"))
    return backup


def _a_target_twice(disks: Disks) -> Backup:
    backup = Backup(disks.daemon)
    (disks.folder / "link").symlink_to(disks.folder, target_is_directory=True)
    for node, folder in zip(disks.nodes, (disks.folder, disks.folder / "link"), strict=True):
        backup.add_disk(node, Image(folder / "full.qcow2", format="qcow2"))
    return backup


def _no_file(disks: Disks) -> Backup:
    backup = Backup(disks.daemon)
    backup.add_disk(disks.nodes[0], Image.at_uri("nbd://localhost"))
    return backup


def _another_format(disks: Disks) -> Backup:
    backup = Backup(disks.daemon)
    target = Image(disks.folder / "full.qcow2", format="qcow2")
    backup.add_disk(disks.nodes[0], target, options=CreateRaw())
    return backup


def _no_format_to_write(disks: Disks) -> Backup:
    backup = Backup(disks.daemon)
    backup.add_disk(disks.nodes[0], Image(disks.folder / "full.dmg", format="dmg"))
    return backup


def _a_raw_disk(disks: Disks) -> Backup:
    raw = Image(disks.folder / "disk.raw", format="raw")
    raw.create("1M")
    node = disks.daemon.add_node(raw.options("raw"))
    backup = disks.backup("full")
    backup.add_disk(node, Image(disks.folder / "raw.qcow2", format="qcow2"))
    return backup


def _an_old_qcow2(disks: Disks) -> Backup:
    image = Image(disks.folder / "old.qcow2", format="qcow2")
    image.create("1M", CreateQcow2(compat="0.10"))
    node = disks.daemon.add_node(image.options("old"))
    backup = disks.backup("full")
    backup.add_disk(node, Image(disks.folder / "copy.qcow2", format="qcow2"))
    return backup


def _a_bitmap_in_use(disks: Disks) -> Backup:
    bitmap = disks.nodes[1].add_bitmap("backup", disabled=True)
    disks.daemon.start_nbd_server().export(disks.nodes[1], bitmaps=[bitmap])
    return disks.backup("full")


REFUSED: dict[str, tuple[Callable[[Disks], Backup], str]] = {
    "nothing": (_nothing, "add_disk"),
    "a disk twice": (_a_disk_twice, "node 'one' was added twice"),
    "a target twice": (_a_target_twice, "was added for two disks"),
    "no file": (_no_file, "has no path"),
    "options of another format": (_another_format, "CreateRaw is not for"),
    "a format that is only read": (_no_format_to_write, "creates no 'dmg'"),
    "a raw disk": (_a_raw_disk, "persistent bitmaps to raw.*persistent=False"),
    "an old qcow2": (_an_old_qcow2, "persistent=False"),
    "a bitmap in use": (_a_bitmap_in_use, "'backup' of 'two' is in use"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_become_a_backup_is_refused_before_anything_is_copied(
    disks: Disks, what: str
) -> None:
    describe, words = REFUSED[what]
    backup = describe(disks)

    def state() -> list[object]:
        jobs = [job.id for job in disks.daemon.qmp.execute(QueryJobs())]
        nodes = sorted(node.name for node in disks.daemon.graph().nodes)
        return [sorted(disks.folder.iterdir()), jobs, nodes, disks.bitmaps()]

    before = state()
    copied = disks.daemon.qmp.events(JobStatusChange)
    with pytest.raises(UsageError, match=words):
        backup.full(timeout=30)
    assert state() == before
    assert copied.get_nowait() is None


@pytest.mark.parametrize("verb", ["full", "incremental", "differential"])
def test_a_backup_of_nothing_is_refused_at_once(daemon: StorageDaemon, verb: str) -> None:
    with pytest.raises(UsageError, match="add_disk"):
        getattr(Backup(daemon), verb)()


def test_a_disk_of_another_qemu_is_refused(disks: Disks) -> None:
    with StorageDaemon() as other:
        node = other.add_node(NullCo(node_name="one", size=MIB))
        backup = Backup(disks.daemon)
        backup.add_disk(node, Image(disks.folder / "full.qcow2", format="qcow2"))
        with pytest.raises(UsageError, match="of another QEMU"):
            backup.start_full()


def test_bitmaps_that_cannot_take_over_undo_the_images(
    disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    copy = AsyncBackup._copy

    async def copy_and_lose(
        self: AsyncBackup,
        transaction: AsyncTransaction,
        tell: Callable[[float], None],
        *,
        bitmap: str | None,
        images: _Images,
    ) -> None:
        await copy(self, transaction, tell, bitmap=bitmap, images=images)
        made.extend((disks.folder / f"full-{name}.qcow2").exists() for name in ("one", "two"))
        # Somebody makes the bitmap, and uses it, while the data is copied.
        node = self._disks[1].node
        await node.add_bitmap("backup")
        server = await self._qemu.start_nbd_server()
        await server.export(node, bitmaps=[BlockDirtyBitmap(node=node.name, name="backup")])

    monkeypatch.setattr(AsyncBackup, "_copy", copy_and_lose)
    with pytest.raises(TransactionFailed, match="in use"):
        disks.backup("full").full(timeout=30)
    assert made == [True, True]
    assert not list(disks.folder.glob("full-*"))
    assert disks.bitmaps() == {("two", "backup")}
    disks.assert_clean()


def test_a_full_backup_lets_a_disabled_bitmap_record_again(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    disks.nodes[0].bitmap("backup").disable()
    disks.change()
    with pytest.raises(UsageError, match="'backup' of 'one' is of no use: it is disabled"):
        disks.backup("first", base="full").incremental(timeout=30)
    disks.backup("again").full(timeout=30)
    disks.change()
    copies = disks.copied("now")
    disks.backup("second", base="again").incremental(timeout=30)
    disks.assert_backed_up("second", copies)


@pytest.mark.parametrize("size", ["32M", "8M"])
@pytest.mark.parametrize("verb", ["incremental", "differential"])
def test_after_a_resize_only_a_full_backup_is_made(disks: Disks, size: str, verb: str) -> None:
    disks.backup("full").full(timeout=30)
    disks.nodes[1].resize(size)
    with pytest.raises(UsageError, match="it was resized, or that is not its backup"):
        getattr(disks.backup("first", base="full"), verb)().run(timeout=30)
    assert not list(disks.folder.glob("first-*"))
    copies = disks.copied("now")
    disks.backup("again").full(timeout=30)
    disks.assert_backed_up("again", copies)


def test_a_base_that_is_not_the_last_backup_is_refused(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    disks.change()
    disks.backup("first", base="full").incremental(timeout=30)
    disks.change()
    with pytest.raises(UsageError, match=r"changed since .*first-one.* is the wrong base"):
        disks.backup("second", base="full").incremental(timeout=30)
    assert not list(disks.folder.glob("second-*"))
    disks.assert_clean()
    # A copy of the last one is as good, and to a differential one the full one is right.
    for node in disks.nodes:
        copy = disks.image("copy", node).path
        copy.write_bytes(disks.image("first", node).path.read_bytes())
    copies = disks.copied("now")
    disks.backup("third", base="full").differential(timeout=30)
    disks.backup("second", base="copy").incremental(timeout=30)
    disks.assert_backed_up("second", copies)
    disks.assert_backed_up("third", copies)
    with pytest.raises(UsageError, match="is the wrong base"):
        disks.backup("fourth", base="first").differential(timeout=30)


def test_a_base_that_has_lost_its_own_base_is_refused(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    disks.change()
    disks.backup("first", base="full").incremental(timeout=30)
    disks.image("full", disks.nodes[1]).path.unlink()
    with pytest.raises(ToolError, match="full-two"):
        disks.backup("second", base="first").incremental(timeout=30)
    assert not list(disks.folder.glob("second-*"))
    disks.assert_clean()


def test_a_disk_is_not_its_own_base(disks: Disks) -> None:
    disks.backup("full").full(timeout=30)
    backup = Backup(disks.daemon)
    itself = Image(disks.folder / "one.qcow2", format="qcow2")
    target = Image(disks.folder / "first.qcow2", format="qcow2")
    backup.add_disk(disks.nodes[0], target, base=itself)
    with pytest.raises(UsageError, match="is the disk itself"):
        backup.incremental(timeout=30)
    assert not target.path.exists()


def test_a_backup_that_nobody_waits_for_leaves_nothing(
    daemon: StorageDaemon, tmp_path: Path, make_image: MakeImage
) -> None:
    make_image("one.qcow2", write="-P 1 0 8M")
    with StorageDaemon(monitors=[tmp_path / "monitor"]) as foreign:
        foreign.add_object(
            ObjectOptionsThrottleGroup(id="slow", limits=ThrottleLimits(bps_read=MIB))
        )
        slow = Throttle(throttle_group="slow", file=File(filename=str(tmp_path / "one.qcow2")))
        foreign.add_node(Qcow2(node_name="one", file=slow))
        before = sorted(node.name for node in foreign.graph().nodes)
        source = """
import sys
from pathlib import Path
from qemu_blocksdk import *
folder = Path(sys.argv[1])
qemu = StorageDaemon.attach(folder / "monitor")
backup = Backup(qemu)
backup.add_disk(qemu.node("one"), Image(folder / "full.qcow2", format="qcow2"))
operation = backup.start_full()
while not qemu.query_jobs():
    pass
"""
        (tmp_path / "scripts").mkdir()
        with Script(tmp_path / "scripts", source, str(tmp_path)) as client:
            client.finish(may_complain=True)
        # It has a second at its end; what takes longer, the next client finds.
        assert all(each.is_proven for each in foreign.leftovers())
        foreign.clear_leftovers()
        assert foreign.qmp.execute(QueryJobs()) == []
        assert sorted(node.name for node in foreign.graph().nodes) == before
        assert foreign.query_bitmaps() == {}
        assert foreign.leftovers() == []
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "monitor",
            "one.qcow2",
            "scripts",
        ]
