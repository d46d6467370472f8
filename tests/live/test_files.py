"""What is there before a call: never removed, replaced, truncated or chmodded unasked.

Each verb that writes a file meets each kind of thing that may be at its place, with and without
``replace=True``, in success, failure, a time limit and Ctrl-C.
"""

from __future__ import annotations

import bz2
import contextlib
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import cast

import pytest

from qemu_blocksdk import (
    Backup,
    Disk,
    Image,
    NbdServer,
    Node,
    Operation,
    PointInTime,
    StorageDaemon,
)
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, NullCo, Raw
from qemu_blocksdk.errors import (
    BlockSdkError,
    CommandError,
    DeadlineExceeded,
    ToolError,
    Unsupported,
    UsageError,
)
from qemu_blocksdk.testing import Transcript, record
from qemu_blocksdk.testing.golden import Golden
from qemu_blocksdk.tools import CreateQcow2, CreateRaw, ImageFormat
from qemu_blocksdk.wire import (
    BlockdevCreateOptionsFile,
)
from tests.live.places import ALWAYS_REFUSED, DEVICES, KINDS, MIB, device, loop_device, place, state

pytestmark = pytest.mark.timeout(120)

__all__ = ["device"]  # a fixture


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageDaemon]:
    """One daemon for all cases."""
    with StorageDaemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A raw image of 1 MiB."""
    path = tmp_path_factory.mktemp("source") / "source"
    path.write_bytes(b"s" * MIB)
    return Image(path, format="raw")


@pytest.fixture(scope="module")
def broken(source: Image) -> Image:
    """The same, but what is read from its middle on is an error."""
    rule = BlkdebugInjectErrorOptions(event="none", iotype="read", sector=1024)
    image = File(filename=str(source.path))
    return Image.from_options(Raw(file=Blkdebug(image=image, inject_error=[rule])))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the place is."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


Verb = Callable[[Path, Image, StorageDaemon, bool], object]


def _move(path: Path, source: Image, daemon: StorageDaemon, replace: bool) -> None:
    options = Raw(file=File(filename=str(source.path)), node_name="from")
    if not source.path.exists():
        options = Raw(file=NullCo(size=MIB), node_name="from")
    disk = Disk(daemon, daemon.add_node(options))
    try:
        disk.move(Image(path, format="raw"), replace=replace, timeout=30)
    finally:
        disk.node.delete()


def _sample(path: Path, source: Image, replace: bool) -> None:
    archive = path.parent.with_name("sample.bz2")
    archive.write_bytes(bz2.compress(b"s" * MIB))
    Image.unpack_sample(archive, path, format="raw", replace=replace)


def _with_data_file(path: Path, replace: bool) -> None:
    image = Image(path.parent.with_name("image.qcow2"), format="qcow2")
    image.path.unlink(missing_ok=True)
    image.create("1M", CreateQcow2(data_file=path), replace=replace)


def _transcript(path: Path, replace: bool) -> None:
    with Transcript(path, replace=replace) as transcript:
        transcript({"execute": "x"})


def _recording(path: Path, replace: bool) -> None:
    with record(path, replace=replace) as recording:
        recording({"execute": "x"})


ON_DEVICES: dict[str, Verb] = {
    "create": lambda p, s, d, r: Image(p, format="raw").create("1M", replace=r),
    "create qcow2": lambda p, s, d, r: Image(p, format="qcow2").create("1M", replace=r),
    "data file": lambda p, s, d, r: _with_data_file(p, r),
    "convert": lambda p, s, d, r: s.convert(Image(p, format="raw"), replace=r),
    "dd": lambda p, s, d, r: s.dd(Image(p, format="raw"), block_size=65536, replace=r),
    "move": _move,
}
"""Verbs that make an image, also on a block device."""

FILES_ONLY: dict[str, Verb] = {
    "create_marked": lambda p, s, d, r: Image.create_marked(p, "1M", replace=r),
    "unpack_sample": lambda p, s, d, r: _sample(p, s, r),
}
"""Verbs that make a file."""

TRANSCRIPTS: dict[str, Verb] = {
    "transcript": lambda p, s, d, r: _transcript(p, r),
    "recording": lambda p, s, d, r: _recording(p, r),
}
"""Verbs that write line by line, on whatever can be written to."""


def _vhost_user(path: Path, daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="null"))
    try:
        daemon.export_vhost_user_blk(node, address=path)
    finally:
        node.delete()


def _backup(path: Path, daemon: StorageDaemon, *, format: str) -> None:
    node = daemon.add_node(NullCo(node_name="null", size=MIB))
    try:
        backup = Backup(daemon, persistent=False)
        backup.add_disk(node, Image(path, format=cast("ImageFormat", format)))
        backup.full(timeout=30)
    finally:
        node.delete()


def _scratch_in(path: Path, daemon: StorageDaemon) -> None:
    node = daemon.add_node(NullCo(node_name="null", size=MIB))
    try:
        with PointInTime(daemon, node, scratch_folder=path):
            pass
    finally:
        node.delete()


REFUSING: dict[str, Verb] = {
    "backup to raw": lambda p, s, d, r: _backup(p, d, format="raw"),
    "backup to qcow2": lambda p, s, d, r: _backup(p, d, format="qcow2"),
    "start_nbd_server": lambda p, s, d, r: d.start_nbd_server(address=str(p)),
    "export_vhost_user_blk": lambda p, s, d, r: _vhost_user(p, d),
    "NbdServer": lambda p, s, d, r: NbdServer(s, address=str(p)).launch(),
    "NbdServer.fork": lambda p, s, d, r: NbdServer(s, address=p).fork(),
    "monitors": lambda p, s, d, r: StorageDaemon(monitors=[p]).launch(),
    "blockdev-create": lambda p, s, d, r: d.start_create(
        BlockdevCreateOptionsFile(filename=str(p), size=MIB)
    ),
    "snapshot_sync": lambda p, s, d, r: d.node("none").snapshot_sync(p),
    "transaction.snapshot_sync": lambda p, s, d, r: d.transaction().snapshot_sync(
        d.node("none"), p
    ),
}
"""Verbs that take nothing that is there."""

REPLACING: dict[str, Verb] = {**ON_DEVICES, **FILES_ONLY}
WRITING: dict[str, Verb] = {**REPLACING, **TRANSCRIPTS}
ALL: dict[str, Verb] = {**WRITING, **REFUSING}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ALL)
def test_nothing_that_is_there_is_touched_unasked(
    verb: str,
    kind: str,
    folder: Path,
    source: Image,
    shared: StorageDaemon,
    device: Path | None,
) -> None:
    do = ALL[verb]
    with place(kind, folder, device) as path:
        before = state(folder)
        if kind == "dangling link" and (verb in REPLACING or "backup" in verb):
            # Nothing is there, so the file that the link points to is made; the link stays.
            do(path, source, shared, False)
            assert path.readlink() == Path("real")
            assert (folder / "real").stat().st_size >= MIB or "qcow2" in verb
            return
        with pytest.raises(BlockSdkError):
            do(path, source, shared, False)
        assert state(folder) == before
        if kind in DEVICES:
            assert path.read_bytes()[:1] == b"d" or verb in REFUSING


@pytest.fixture(autouse=True)
def _fresh_device(device: Path | None) -> None:
    if device is not None:
        with device.open("r+b") as file:
            file.write(b"d" * MIB)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", WRITING)
def test_what_is_replaced_keeps_its_kind_owner_mode_and_attributes(
    verb: str,
    kind: str,
    folder: Path,
    source: Image,
    shared: StorageDaemon,
    device: Path | None,
) -> None:
    do = WRITING[verb]
    if verb in TRANSCRIPTS and kind in (*DEVICES, "character device", "dangling link"):
        pytest.skip("a line can be written there, and nothing is replaced")
    with place(kind, folder, device) as path:
        before = state(folder)
        if kind in ALWAYS_REFUSED or (kind in DEVICES and verb in FILES_ONLY):
            with pytest.raises(BlockSdkError):
                do(path, source, shared, True)
            assert state(folder) == before
            return
        do(path, source, shared, True)
        after = state(folder, content=False)
        if kind == "dangling link":
            assert after["place"] == before["place"]
            return
        assert after == {name: (*found[:-1], b"") for name, found in before.items()}
        with path.open("rb") as file:
            assert file.read(3) != b"old"


@contextlib.contextmanager
def _opened(daemon: StorageDaemon, options: Raw) -> Generator[Node]:
    node = daemon.add_node(options)
    try:
        yield node
    finally:
        if node.name in daemon.graph():
            node.delete()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replace", [True, False])
def test_a_failure_leaves_what_was_there(
    kind: str, replace: bool, folder: Path, broken: Image, device: Path | None
) -> None:
    with place(kind, folder, device) as path:
        before = state(folder)
        target = Image(path, format="raw")
        attempts: tuple[Callable[[], object], ...] = (
            lambda: broken.convert(target, replace=replace),
            lambda: broken.dd(target, block_size=65536, replace=replace),
            # A tmpfs takes a sparse file of any size.
            lambda: target.create("1E", CreateRaw(preallocation="falloc"), replace=replace),
        )
        for attempt in attempts:
            with pytest.raises((ToolError, UsageError)):
                attempt()
            assert state(folder) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replace", [True, False])
def test_a_move_that_fails_gives_back_what_was_there(
    kind: str,
    replace: bool,
    folder: Path,
    source: Image,
    shared: StorageDaemon,
    device: Path | None,
) -> None:
    rule = BlkdebugInjectErrorOptions(event="none", iotype="read", sector=1024)
    image = File(filename=str(source.path))
    options = Raw(file=Blkdebug(image=image, inject_error=[rule]), node_name="from")
    with place(kind, folder, device) as path, _opened(shared, options) as node:
        before = state(folder)
        for format in ("raw", "qcow2", "vmdk"):
            with pytest.raises(BlockSdkError):
                Disk(shared, node).move(Image(path, format=format), replace=replace, timeout=30)
            assert state(folder) == before


def _limit(operation: Operation[None]) -> None:
    with pytest.raises(DeadlineExceeded):
        operation.run(timeout=0.05)


def _ctrl_c(operation: Operation[None]) -> None:
    with pytest.raises(KeyboardInterrupt):
        operation.run(on_progress=lambda _: signal.raise_signal(signal.SIGINT))


def _cancel(operation: Operation[None]) -> None:
    operation.cancel()


@pytest.mark.parametrize("end", [_limit, _ctrl_c, _cancel])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "owned", *DEVICES])
def test_what_is_cut_short_leaves_what_was_there(
    kind: str,
    end: Callable[[Operation[None]], None],
    folder: Path,
    device: Path | None,
) -> None:
    before_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with place(kind, folder, device) as path:
            before = state(folder)
            target = Image(path, format="raw")
            never = Image.from_options(Raw(file=NullCo(size=MIB, latency_ns=10**11)))
            end(never.start_convert(target, replace=True))
            assert state(folder) == before
    finally:
        signal.signal(signal.SIGINT, before_handler)


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_file_is_a_regular_file(
    kind: str, folder: Path, device: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    monkeypatch.delenv("CI", raising=False)
    with place(kind, folder, device) as path:
        golden = folder / "case.test.out"
        path.rename(golden) if kind != "mounted" else golden.symlink_to(path)
        before = state(folder)
        if kind in ("file", "owned"):
            Golden(folder / "case.py", test="test").check("new")
            after = state(folder, content=False)
            assert after == {name: (*found[:-1], b"") for name, found in before.items()}
            assert golden.read_text() == "new"
        elif kind not in ("fifo", *DEVICES, "character device"):
            with pytest.raises(UsageError):
                Golden(folder / "case.py", test="test").check("new")
            assert state(folder) == before
        golden.unlink() if not golden.is_dir() else None


@pytest.mark.parametrize("kind", KINDS)
def test_a_scratch_folder_and_a_mount_point_are_as_before(
    kind: str, folder: Path, daemon: StorageDaemon, device: Path | None
) -> None:
    with place(kind, folder, device) as path:
        before = state(folder)
        with contextlib.ExitStack() as stack:
            if kind != "directory":
                stack.enter_context(pytest.raises((BlockSdkError, OSError)))
            _scratch_in(path, daemon)
        assert state(folder) == before
        node = daemon.add_node(NullCo(node_name="null", size=MIB))
        # QEMU takes a regular file, where it has the right to mount.
        with (
            contextlib.suppress(CommandError, Unsupported),
            daemon.export_fuse(node, mountpoint=path),
        ):
            assert kind in ("file", "link", "owned", "mounted")
        node.delete()
        assert state(folder) == before


@pytest.mark.parametrize("format", ["raw", "qcow2"])
@pytest.mark.parametrize("kind", ["fifo", "socket", "directory"])
def test_what_cannot_be_an_image_is_refused_as_a_source(
    kind: str, format: ImageFormat, folder: Path, source: Image
) -> None:
    with place(kind, folder, None) as path:
        before = state(folder)
        odd, new = Image(path, format=format), Image(folder / "new", format="qcow2")
        other = Image(source.path, format=format)
        attempts: dict[str, Callable[[], object]] = {
            "info": odd.info,
            "untrusted info": lambda: odd.info(untrusted=True),
            "check": odd.check,
            "map": odd.map,
            "measure": lambda: odd.measure("qcow2"),
            "snapshots": odd.snapshots,
            "backing_chain": odd.backing_chain,
            "chain_options": lambda: odd.chain_options("n"),
            "bench": lambda: odd.bench(count=1),
            "resize": lambda: odd.resize("2M"),
            "probe": lambda: Image.probe(path),
            "convert": lambda: odd.convert(new),
            "untrusted convert": lambda: odd.convert(new, untrusted=True),
            "append": lambda: other.convert(new, append=[odd]),
            "compare": lambda: odd.compare(source),
            "compare with": lambda: source.compare(odd),
            "dd": lambda: odd.dd(new),
            "create": lambda: new.create(backing=odd),
            "rebase": lambda: other.start_rebase(odd),
        }
        for name, attempt in attempts.items():
            with pytest.raises(BlockSdkError):
                attempt()
            assert state(folder) == before, name


def test_a_device_that_is_in_use_is_not_overwritten(folder: Path, source: Image) -> None:
    with loop_device(folder) as device:
        subprocess.run(["mkfs.ext4", "-q", device], capture_output=True, check=True)
        (folder / "mnt").mkdir()
        mount = ["mount", str(device), str(folder / "mnt")]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no right to mount a file system")
        try:
            with pytest.raises(UsageError, match="is mounted"):
                source.convert(Image(device, format="raw"), replace=True)
        finally:
            subprocess.run(["umount", folder / "mnt"], check=True)
        source.convert(Image(device, format="raw"), replace=True)


# -- the target is a source ----------------------------------------------------------------


@pytest.mark.parametrize("by", ["name", "link", "hard link"])
def test_a_target_that_is_read_is_refused_before_the_start(folder: Path, by: str) -> None:
    base, top = (Image(folder / f"{name}.qcow2", format="qcow2") for name in ("base", "top"))
    base.create("1M")
    top.create(backing=base)
    name = folder / "other"
    match by:
        case "link":
            name.symlink_to(base.path)
        case "hard link":
            name.hardlink_to(base.path)
        case _:
            name = base.path
    same = Image(name, format="qcow2")
    before = state(folder)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: base.start_convert(same, replace=True),
        lambda: top.start_convert(same, replace=True),
        lambda: base.dd(same, replace=True),
        lambda: same.create(backing=top, replace=True),
        lambda: same.create(backing=top, unsafe=True, replace=True),
        lambda: top.start_convert(same, backing=base, in_place=True),
        lambda: same.start_rebase(top),
        lambda: same.start_rebase(top, unsafe=True),
        lambda: same.start_rebase(base, unsafe=True),
    )
    for attempt in attempts:
        with pytest.raises(UsageError, match="is read here"):
            attempt()
        assert state(folder) == before
