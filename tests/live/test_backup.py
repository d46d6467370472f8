"""The backup recipe: full, incremental, differential, several disks, and what a failure leaves."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from qemu_blocksdk import Backup, Image, Node, StorageDaemon
from qemu_blocksdk.aio import AsyncBackup, AsyncImage, AsyncStorageDaemon
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    ConnectionLost,
    DeadlineExceeded,
    GraphError,
    JobFailed,
    UsageError,
)
from qemu_blocksdk.wire import QueryJobs
from tests.live.helpers import MakeImage, are_equal, run, write_with_qemu_io

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
        assert not [node for node in self.daemon.graph().nodes if node.name.startswith("target")]
        assert not list(self.folder.glob(".blocksdk-*"))


@pytest.fixture
def disks(daemon: StorageDaemon, tmp_path: Path, make_image: MakeImage) -> Disks:
    """Two disks with data."""
    return Disks(daemon, tmp_path, make_image)


def test_full_incremental_and_differential_backups_restore_their_moment(disks: Disks) -> None:
    full = disks.copied("was-full")
    disks.backup("full").full().run(timeout=30)
    disks.change()
    first = disks.copied("was-first")
    disks.backup("first", base="full").incremental().run(timeout=30)
    disks.change()
    second = disks.copied("was-second")
    disks.backup("second", base="first").incremental().run(timeout=30)
    disks.change()
    third = disks.copied("was-third")
    disks.backup("third", base="full").differential().run(timeout=30)
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
    disks.backup("full").full().run(timeout=30)
    before = disks.copied("before")
    disks.change()
    changed = disks.copied("changed")
    operation = disks.backup("first", base="full").incremental()
    disks.change()  # while it runs, or just after
    operation.run(timeout=30)
    last = disks.copied("last")
    disks.backup("second", base="first").incremental().run(timeout=30)
    disks.assert_backed_up("second", last)
    disks.assert_backed_up("full", before)
    assert changed != last


def test_progress_comes_to_its_end(disks: Disks) -> None:
    readings: list[float] = []
    disks.backup("full").full().run(timeout=30, on_progress=lambda it: readings.append(it.fraction))
    assert readings[-1] == 1.0
    assert readings == sorted(readings)


def test_a_backup_that_fails_costs_nothing(disks: Disks) -> None:
    disks.backup("full").full().run(timeout=30)
    disks.change()
    counts = [node.bitmap("backup").query_info().count for node in disks.nodes]
    broken = disks.backup("first", base="full")
    disks.nodes[1].bitmap("backup").remove()
    with pytest.raises(GraphError, match="bitmap 'backup'"):
        broken.incremental().run(timeout=30)
    disks.assert_clean()
    assert not disks.image("first", disks.nodes[0]).path.exists()
    assert disks.nodes[0].bitmap("backup").query_info().count == counts[0]
    # A full one mends it.
    copies = disks.copied("now")
    disks.backup("again").full().run(timeout=30)
    disks.assert_backed_up("again", copies)
    assert disks.nodes[1].bitmap("backup").query_matches(count=0)


def test_a_name_that_is_taken_is_refused_and_nothing_else_published(disks: Disks) -> None:
    taken = disks.image("full", disks.nodes[1]).path
    taken.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        disks.backup("full").full().run(timeout=30)
    assert taken.read_bytes() == b"precious"
    assert not disks.image("full", disks.nodes[0]).path.exists()
    assert disks.bitmaps() == set()
    disks.assert_clean()


def test_a_name_that_is_taken_meanwhile_undoes_all(disks: Disks) -> None:
    operation = disks.backup("full").full()
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
        backup.full().run(timeout=30)
    assert not disks.image("good", disks.nodes[0]).path.exists()
    assert not list(full_disk.iterdir())
    assert disks.bitmaps() == set()
    disks.assert_clean()


def test_an_incremental_backup_needs_a_base_and_qcow2(disks: Disks) -> None:
    disks.backup("full").full().run(timeout=30)
    with pytest.raises(UsageError, match="has no base"):
        disks.backup("first").incremental().run(timeout=30)
    backup = Backup(disks.daemon)
    raw = Image(disks.folder / "first.raw", format="raw")
    backup.add_disk(disks.nodes[0], raw, base=disks.image("full", disks.nodes[0]))
    with pytest.raises(UsageError, match="qcow2"):
        backup.incremental().run(timeout=30)


def test_a_full_backup_may_be_raw(disks: Disks) -> None:
    copies = disks.copied("now")
    backup = Backup(disks.daemon, persistent=False)
    target = Image(disks.folder / "full.raw", format="raw")
    backup.add_disk(disks.nodes[0], target)
    backup.full().run(timeout=30)
    assert target.path.read_bytes() == copies[0].read_bytes()
    assert disks.nodes[0].bitmap("backup").query_matches(persistent=False)


def test_a_backup_of_a_node_that_is_gone_says_so(disks: Disks) -> None:
    backup = Backup(disks.daemon)
    backup.add_disk(disks.daemon.node("nowhere"), disks.image("full", disks.nodes[0]))
    with pytest.raises(CommandError, match="nowhere"):
        backup.full().run(timeout=30)
    disks.assert_clean()


def test_a_backup_of_a_dead_qemu_leaves_no_file(disks: Disks) -> None:
    disks.backup("full").full().run(timeout=30)
    disks.change()
    operation = disks.backup("first", base="full").incremental()
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
                operation = backup.full()
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
    disks.backup("full").full().run(timeout=30)
    disks.change()
    copies = disks.copied("now")
    one = disks.backup("one", base="full").incremental()
    two = disks.backup("two", base="full").incremental()
    with pytest.raises(UsageError, match="another one is under way; if there is none, its bitmap"):
        two.run(timeout=30)
    one.run(timeout=30)
    disks.assert_backed_up("one", copies)
    with pytest.raises(BlockSdkError):
        disks.backup("one", base="full").incremental().run(timeout=30)  # its name is taken
    disks.assert_clean()
