"""Every verb that makes an image honours all that its Image says, or refuses before it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from qemu_blocksdk import Backup, Disk, Image, PointInTime, Secret, StorageDaemon
from qemu_blocksdk.blockdev import File, Luks, Qcow2, Throttle
from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.tools import CreateLuks, CreateQcow2, EncryptLuks, ImageFormat, Programs
from qemu_blocksdk.wire import ObjectOptionsThrottleGroup, QomList
from tests.live.helpers import MakeImage

pytestmark = pytest.mark.timeout(240)  # a LUKS header takes seconds of the processor

KEY = Secret("s3cr3t")
MIB = 1 << 20
MARK = b"TOP SECRET DATA "
# It notes what it does, and spares the four seconds that QEMU takes for a LUKS header.
QEMU_IMG = """#!/bin/sh
echo "$@" >>{log}
case "$*" in
*" -b "*) ;;
create*key-secret=*)
    while [ $# -gt 2 ]; do shift; done
    exec cp {headers}/header."${{1##*.}}" "$1";;
esac
exec qemu-img "$@"
"""


class Kitchen:
    """A disk with data that nobody may see, in a daemon; a qemu-img that notes what it does."""

    def __init__(
        self, daemon: StorageDaemon, folder: Path, encrypted_headers: Path, disk: Path
    ) -> None:
        self.daemon = daemon
        self.folder = folder
        self.disk = Image(disk, format="qcow2")
        self.node = daemon.add_node(self.disk.options("disk"))
        self._log = folder / "log"
        program = folder / "noting-qemu-img"
        program.write_text(QEMU_IMG.format(log=self._log, headers=encrypted_headers))
        program.chmod(0o755)
        self.programs = Programs().evolve(qemu_img=(str(program),))
        self.before = self.state()

    def image(self, name: str, format: ImageFormat, secret: Secret | None = None) -> Image:
        """An image that the noting programs make."""
        return Image(self.folder / name, format=format, secret=secret, programs=self.programs)

    def noted(self) -> list[str]:
        """The commands so far."""
        return [line.split()[0] for line in self._log.read_text().splitlines()]

    def state(self) -> tuple[list[str], list[str]]:
        """The files and nodes that there are."""
        files = [path.name for path in self.folder.iterdir() if path.name != "log"]
        return sorted(files), sorted(n.name for n in self.daemon.graph().nodes)

    def objects(self) -> set[str]:
        """The objects of the daemon that have a name."""
        if self.daemon.leftovers():
            raise AssertionError(self.daemon.leftovers())
        try:
            found = self.daemon.qmp.execute(QomList(path="/objects"))
            # QEMU 11.1 lists its monitors as well.
            return {each.name for each in found if "monitor" not in each.type}
        except BlockSdkError:
            return set()

    def full(self, target: Image) -> None:
        """Back all up."""
        backup = Backup(self.daemon)
        backup.add_disk(self.node, target)
        backup.full(timeout=60)

    def move(self, target: Image) -> None:
        """Move the disk, and let go of it."""
        disk = Disk(self.daemon, self.node)
        disk.move(target, timeout=60)
        if target._async._secret is not None:
            assert disk.node.name in self.objects()  # as long as the node is there
            self.daemon.delete_object(disk.node.name)
        disk.node.delete()


@pytest.fixture
def kitchen(
    daemon: StorageDaemon, tmp_path: Path, encrypted_headers: Path, make_image: MakeImage
) -> Kitchen:
    """A disk in a daemon."""
    pattern = tmp_path / "pattern"
    pattern.write_bytes(MARK * 4096)
    disk = make_image(write=f"-s {pattern} 0 64k")
    pattern.unlink()
    return Kitchen(daemon, tmp_path, encrypted_headers, disk)


LIVE: dict[str, Callable[[Kitchen, Image], None]] = {"full": Kitchen.full, "move": Kitchen.move}


@pytest.mark.parametrize("verb", LIVE)
@pytest.mark.parametrize("format", ["qcow2", "luks"])
def test_a_target_with_a_secret_is_encrypted_by_its_programs(
    kitchen: Kitchen, verb: str, format: ImageFormat
) -> None:
    target = kitchen.image(f"target.{format}", format, KEY)
    LIVE[verb](kitchen, target)
    assert "create" in kitchen.noted()
    assert MARK in kitchen.disk.path.read_bytes()
    assert MARK not in target.path.read_bytes()
    assert target.compare(kitchen.disk, force_share=True, timeout=60).is_equal
    assert not {name for name in kitchen.objects() if name.startswith(("blocksdk", "disk"))}


def test_increments_are_encrypted(kitchen: Kitchen) -> None:
    full = kitchen.image("full.qcow2", "qcow2", KEY)
    kitchen.full(full)
    with (
        kitchen.daemon.start_nbd_server() as server,
        server.export(kitchen.node, writable=True) as export,
    ):
        export.write(1 << 20, 65536, pattern=MARK[0])
    backup = Backup(kitchen.daemon)
    increment = kitchen.image("increment.qcow2", "qcow2", KEY)
    options = CreateQcow2(encrypt=EncryptLuks(iter_time=0.01))
    backup.add_disk(kitchen.node, increment, base=full, options=options)
    backup.incremental(timeout=60)
    assert increment.info().encrypted
    assert MARK[:1] * 512 not in increment.path.read_bytes()
    kitchen.daemon.add_secret(KEY, id="key")
    keys = {"read": "key", "read-1": "key"}
    chain = kitchen.daemon.add_node(increment.chain_options("read", key_secrets=keys))
    with kitchen.daemon.start_nbd_server() as server, server.export(chain) as export:
        restored = Image.at_uri(export.uri)
        assert restored.compare(kitchen.disk, force_share=True, timeout=60).is_equal


@pytest.mark.parametrize("is_encrypted", [True, False])
def test_the_scratch_image_is_encrypted_where_any_layer_is(
    kitchen: Kitchen, encrypted_headers: Path, tmp_path: Path, is_encrypted: bool
) -> None:
    daemon = kitchen.daemon
    daemon.add_secret(KEY, id="key")
    daemon.add_object(ObjectOptionsThrottleGroup(id="group"))
    base = kitchen.node
    if is_encrypted:
        encrypted = tmp_path / "encrypted.qcow2"
        encrypted.write_bytes((encrypted_headers / "header.qcow2").read_bytes())
        image = Image(encrypted, format="qcow2", secret=KEY)
        base = daemon.add_node(image.options("encrypted", key_secret="key"))
        with daemon.start_nbd_server() as server, server.export(base, writable=True) as export:
            kitchen.disk.convert(
                Image.at_uri(export.uri), in_place=True, force_share=True, timeout=60
            )
    Image(tmp_path / "overlay.qcow2", format="qcow2").create("16M")
    file = File(filename=str(tmp_path / "overlay.qcow2"))
    overlay = daemon.add_node(Qcow2(node_name="overlay", file=file, backing=base.name))
    top = daemon.add_node(Throttle(node_name="top", throttle_group="group", file=overlay.name))
    folder = tmp_path / "scratch"
    folder.mkdir()
    with (
        daemon.start_nbd_server() as server,
        PointInTime(daemon, top, server=server, scratch_folder=folder) as moment,
        server.export(moment.front, name="writer", writable=True) as export,
    ):
        export.write(0, 1 << 20, pattern=0)
        (scratch,) = folder.rglob("scratch")
        assert (MARK in scratch.read_bytes()) is not is_encrypted
        then = Image.at_uri(moment.uri)
        assert then.compare(kitchen.disk, force_share=True, timeout=60).is_equal
    assert not list(folder.iterdir())
    assert kitchen.objects() == {"type", "key", "group"}


@pytest.mark.parametrize("verb", LIVE)
@pytest.mark.parametrize("format", ["raw", "vmdk", "vdi", "vhdx", "vpc", "qcow"])
def test_a_secret_that_the_format_cannot_have_is_refused(
    kitchen: Kitchen, verb: str, format: ImageFormat
) -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        LIVE[verb](kitchen, kitchen.image("target", format, KEY))
    assert kitchen.state() == kitchen.before
    assert kitchen.daemon.query_bitmaps() == {}


@pytest.mark.parametrize("verb", LIVE)
# qcow, the oldest, takes a second for a megabyte.
@pytest.mark.parametrize("format", sorted({*get_args(ImageFormat)} - {"luks", "qcow"}))
def test_a_target_has_its_format_or_nothing_is_left(
    kitchen: Kitchen, verb: str, format: ImageFormat
) -> None:
    target = kitchen.image("target", format)
    try:
        LIVE[verb](kitchen, target)
    except BlockSdkError:
        assert kitchen.state() == kitchen.before
        assert format not in ("raw", "qcow2", "vmdk", "vdi", "vhdx", "qed", "parallels")
    else:
        assert Image(target.path, format=format).info().format == format
        assert target.compare(kitchen.disk, force_share=True, timeout=60).is_equal
        assert "create" in kitchen.noted()


@pytest.mark.parametrize("verb", ["convert", "dd"])
def test_copies_are_made_by_the_targets_programs(kitchen: Kitchen, verb: str) -> None:
    target = kitchen.image("target.raw", "raw")
    source = kitchen.disk
    kitchen.node.delete()
    if verb == "convert":
        source.convert(target, timeout=60)
    else:
        source.dd(target, block_size=65536)
    assert kitchen.noted() == [verb]
    other = Programs().evolve(qemu_img=("other-qemu-img",))
    theirs = Image(source.path, format="qcow2", programs=other)
    again = kitchen.image("again.raw", "raw")
    copy: Callable[[Image], object] = theirs.start_convert if verb == "convert" else theirs.dd
    with pytest.raises(UsageError, match="different programs"):
        copy(again)
    assert not again.path.exists()


@pytest.mark.parametrize("format", ["qcow2", "luks"])
def test_dd_refuses_what_it_cannot_encrypt(kitchen: Kitchen, format: ImageFormat) -> None:
    target = kitchen.image("target", format, KEY)
    with pytest.raises(UsageError, match="cannot encrypt"):
        kitchen.disk.dd(target)
    assert kitchen.state() == kitchen.before


def test_each_image_of_a_command_is_opened_with_its_own_secret(
    encrypted_headers: Path, tmp_path: Path
) -> None:
    one = Image(encrypted_headers / "header.luks", format="luks", secret=KEY)
    two = Image(tmp_path / "two", format="luks", secret=Secret("another"))
    two.create("16M", CreateLuks(iter_time=0.01))
    assert not one.compare(two, timeout=60).is_equal
    both = Image(tmp_path / "both", format="raw")
    one.convert(both, append=[two], timeout=60)
    assert both.info().virtual_size == 32 * MIB
    one.convert(two, in_place=True, timeout=60)
    assert one.compare(two, untrusted=True, timeout=60).is_equal


def test_two_secrets_of_one_id_are_refused(tmp_path: Path) -> None:
    one, two = (
        Image.from_options(
            Luks(key_secret="key", file=File(filename=str(tmp_path / name))),
            secrets={"key": Secret(name)},
        )
        for name in ("one", "two")
    )
    with pytest.raises(UsageError, match="another secret of id 'key'"):
        one.start_convert(Image(tmp_path / "both", format="raw"), append=[two])
