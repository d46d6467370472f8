"""A path is literal, whatever it looks like and through whichever door it comes."""

from __future__ import annotations

import bz2
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk import VM, Disk, Drive, Image, NbdServer, QemuIo, Qmp, StorageDaemon
from qemu_blocksdk.blockdev import File, Qcow2, Raw
from qemu_blocksdk.errors import ToolError
from qemu_blocksdk.testing import Transcript, record
from qemu_blocksdk.testing.replay import ReplayServer
from qemu_blocksdk.tools import CreateQcow2
from qemu_blocksdk.tools.testdata import find_wrong_marker
from qemu_blocksdk.wire import BlockdevCreateOptionsFile, QueryBlock

pytestmark = pytest.mark.timeout(90)

NAMES = (
    *("a:b.raw", "fat:dir", "json:{}", "nbd:localhost:1", "file:x", "blkdebug::x", "-o", "--help"),
    *("a,b=c", ",", "driver=raw", "%s %41", "~", "~root", "$HOME", "x y", "\u00e9", "#1", "*"),
    *("q\"u'o", "b\\s", "{", "x.qcow2:", "a&b?c=d"),
)
"""Names that something could take for more than a name."""
SIZE = 65536


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a raw image of each name that holds its number."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for number, name in enumerate(NAMES):
        Path(name).write_bytes(bytes([number]) * SIZE)
    return folder


@pytest.fixture
def daemon(here: Path) -> StorageDaemon:
    """Not the one of conftest: it has to be started in the folder."""
    return StorageDaemon()


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _raw(name: str) -> Image:
    return Image(Path(name), format="raw")


def _read(name: str) -> bytes:
    with QemuIo(_raw(name)) as io:
        return io.read_data(0, 1)


def _through_nbd(name: str) -> bytes:
    with NbdServer(_raw(name)) as server, QemuIo(Image.at_uri(server.uri)) as io:
        return io.read_data(0, 1)


def _copied(name: str) -> bytes:
    Path("copy").unlink(missing_ok=True)
    _raw(name).convert(Image("copy", format="raw"))
    return Path("copy").read_bytes()[:1]


def _from_options(name: str) -> bytes:
    with QemuIo(Image.from_options(Raw(file=File(filename=name)))) as io:
        return io.read_data(0, 1)


def _over(name: str) -> bytes:
    Path("over").unlink(missing_ok=True)
    top = Image("over", format="qcow2")
    top.create(backing=_raw(name))
    with QemuIo(top) as io:
        return io.read_data(0, 1)


def _rebased(name: str) -> bytes:
    top = Image("over", format="qcow2")
    if not top.path.exists():
        top.create("64k")
    top.rebase(_raw(name), unsafe=True)
    with QemuIo(top) as io:
        return io.read_data(0, 1)


def _joined(name: str) -> bytes:
    Path("joined").unlink(missing_ok=True)
    _raw(NAMES[0]).convert(Image("joined", format="raw"), append=[_raw(name)])
    return Path("joined").read_bytes()[-1:]


READING: dict[str, Callable[[str], bytes]] = {
    "qemu-io": _read,
    "qemu-nbd": _through_nbd,
    "convert": _copied,
    "append": _joined,
    "from_options": _from_options,
    "backing": _over,
    "rebase": _rebased,
}


@pytest.mark.parametrize("door", READING)
def test_an_image_is_found_by_any_name(door: str) -> None:
    for number, name in enumerate(NAMES):
        assert READING[door](name) == bytes([number]), name


def test_questions_find_it(here: Path) -> None:
    for name in NAMES:
        assert Image.probe(Path(name)).virtual_size == SIZE
        assert _raw(name).path == here / name
        assert _raw(name).info().virtual_size == SIZE, name
        assert _raw(name).compare(_raw(name)).is_equal
        assert len(_raw(name).map()) == 1


def _created(name: str) -> None:
    Image(name, format="raw").create(SIZE, replace=True)


def _converted(name: str) -> None:
    Image("source", format="raw").convert(Image(name, format="raw"), replace=True)


def _dd(name: str) -> None:
    Image("source", format="raw").dd(Image(name, format="raw"), replace=True)


def _sample(name: str) -> None:
    Path("sample.bz2").write_bytes(bz2.compress(b"s" * SIZE))
    Image.unpack_sample("sample.bz2", name, format="raw", replace=True)


def _data_file(name: str) -> None:
    top = Image("with-data", format="qcow2")
    top.path.unlink(missing_ok=True)
    top.create(SIZE, CreateQcow2(data_file=name, preallocation="full"), replace=True)
    top.check()


WRITING: dict[str, Callable[[str], object]] = {
    "create": _created,
    "convert": _converted,
    "dd": _dd,
    "create_marked": lambda name: Image.create_marked(name, SIZE, replace=True),
    "unpack_sample": _sample,
    "data_file": _data_file,
}


@pytest.mark.parametrize("door", WRITING)
def test_a_new_image_has_exactly_that_name(door: str, here: Path) -> None:
    Path("source").write_bytes(b"s" * SIZE)
    old = Path(NAMES[0]).stat().st_ino
    before = _names(here)
    for number, name in enumerate(NAMES):
        WRITING[door](name)
        assert Path(name).stat().st_size == SIZE, name
        assert Path(name).read_bytes()[:1] != bytes([number]) or number == 0
    assert _names(here) - {"sample.bz2", "with-data"} == before
    assert Path(NAMES[0]).stat().st_ino != old
    if door == "create_marked":
        assert all(find_wrong_marker(name) is None for name in NAMES)


def test_a_drive_takes_a_path_object_as_it_is() -> None:
    drives = [
        Drive(file=Path(name), format="raw", interface="none", id=f"d{number}")
        for number, name in enumerate(NAMES)
    ]
    with VM(drives=drives) as vm:
        shown = {info.device: info.inserted for info in vm.qmp.execute(QueryBlock())}
        for number, name in enumerate(NAMES):
            inserted = shown[f"d{number}"]
            assert inserted is not None
            assert Path(inserted.file).samefile(name)
            assert inserted.image.virtual_size == SIZE


def test_a_drive_takes_a_str_for_a_name_in_qemus_syntax(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    drive = Drive(file=f"fat:{tmp_path / 'folder'}", format="raw", interface="none", id="d")
    with VM(drives=[drive]) as vm:
        (info,) = [info for info in vm.qmp.execute(QueryBlock()) if info.device == "d"]
        assert info.inserted is not None
        assert info.inserted.image.virtual_size > 1 << 20


def test_nodes_take_any_name(daemon: StorageDaemon, here: Path) -> None:
    with daemon:
        for number, name in enumerate(NAMES):
            node = daemon.add_node(_raw(name).options(f"n{number}"))
            assert node.query_info().image.virtual_size == SIZE
            node.delete()
            node = daemon.add_node(Raw(node_name="n", file=File(filename=name)))
            target = Image(f"{name}.moved", format="raw")
            disk = Disk(daemon, node)
            disk.move(target)
            assert target.path.read_bytes() == Path(name).read_bytes()
            disk.node.delete()
            target.path.unlink()
            options = BlockdevCreateOptionsFile(filename=f"{name}.new", size=SIZE)
            daemon.create(options)
            assert (here / f"{name}.new").stat().st_size == SIZE


def _read_over(image: Image) -> bytes:
    with QemuIo(image, read_only=True, force_share=True) as io:
        return io.read_data(0, 1)


def test_names_that_are_written_into_images_are_literal_as_path_objects(
    daemon: StorageDaemon, here: Path
) -> None:
    top = Image("top", format="qcow2")
    with daemon:
        for number, name in enumerate(NAMES):
            # qcow2, because QEMU 7.2 and 10.0 record the format of the image for its backing file.
            base = Image(Path(f"{name}.base"), format="qcow2")
            _raw(name).convert(base)
            top.create(backing=base, replace=True)
            node = daemon.add_node(top.chain_options("top"))
            with daemon.start_nbd_server() as server, server.export(node, writable=True):
                node.change_backing_file(Path(f"{name}.base"))
                assert _read_over(top) == bytes([number]), name
                overlay = node.snapshot_sync(Path(f"{name}.snap"), snapshot_node_name="snap")
                assert (here / f"{name}.snap").exists(), name
                base_node = daemon.node("top-1")
                overlay.commit(top=node, base=base_node, backing_file=Path(f"{name}.base"))
                assert _read_over(Image(f"{name}.snap", format="qcow2")) == bytes([number]), name
                second = overlay.snapshot_sync(Path(f"{name}.more"), snapshot_node_name="more")
                second.stream(base=base_node, backing_file=Path(f"{name}.base"))
                assert _read_over(Image(f"{name}.more", format="qcow2")) == bytes([number]), name
            node.delete()


def test_sockets_of_servers_have_exactly_that_path(
    daemon: StorageDaemon, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _raw(str(here / NAMES[0])).info()
    with daemon:
        node = daemon.add_node(_raw(str(here / NAMES[1])).options("n"))
        for name in NAMES:
            with daemon.start_nbd_server(address=name) as server, server.export(node) as export:
                assert _names(folder) == {name}
                assert Image.at_uri(export.uri).info().virtual_size == SIZE
                assert Image.at_uri(str(export.uri)).info().virtual_size == SIZE
            with daemon.export_vhost_user_blk(node, address=name):
                assert _names(folder) == {name}
    for name in NAMES[:3]:
        with NbdServer(_raw(str(here / NAMES[0])), address=name) as own:
            assert _names(folder) == {name}
            assert [export.size for export in NbdServer.list_exports(own.uri)] == [SIZE]
        with StorageDaemon(monitors=[name]), Qmp.connect(name) as qmp:
            assert qmp.version > (7, 0, 0)
    assert _names(folder) == set()


def test_transcripts_and_recordings_have_exactly_that_name(daemon: StorageDaemon) -> None:
    for name in NAMES:
        with Transcript(name, replace=True) as transcript:
            transcript({"execute": "x"})
        assert Path(name).read_bytes() == b'{"execute": "x"}\n'
    with record(NAMES[2], replace=True) as recording, StorageDaemon(on_message=recording):
        pass
    with ReplayServer(NAMES[2]):
        pass


def test_a_backing_file_of_options_is_literal() -> None:
    top = Image("top", format="qcow2")
    top.create(SIZE)
    for number, name in enumerate(NAMES):
        backing = Raw(file=File(filename=name))
        image = Image.from_options(Qcow2(file=File(filename="top"), backing=backing))
        with QemuIo(image) as io:
            assert io.read_data(0, 1) == bytes([number])


def test_a_missing_file_is_named_as_it_was_given(here: Path) -> None:
    for name in NAMES:
        Path(name).unlink()
        with pytest.raises(ToolError, match="No such file"):
            _raw(name).info()
    assert _names(here) == set()
