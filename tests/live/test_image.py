"""Images made and copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qemu_blocksdk import Image, NbdServer, QemuIo, StorageDaemon
from qemu_blocksdk.blockdev import Blkdebug, BlkdebugInjectErrorOptions, File, Raw
from qemu_blocksdk.errors import ToolError, UsageError
from qemu_blocksdk.tools.creation import CreateQcow2, CreateRaw, CreateVmdk
from tests.live.helpers import MakeImage, are_equal, write_with_qemu_io

MIB = 1 << 20


def test_a_new_image_has_the_size_and_options_that_were_asked_for(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk", format="qcow2")
    image.create("1.5M", CreateQcow2(cluster_size="4k", lazy_refcounts=True))
    info = image.info()
    assert (info.virtual_size, info.cluster_size) == (3 * MIB // 2, 4096)
    assert info.qcow2 is not None
    assert info.qcow2.lazy_refcounts is True


def test_a_relative_backing_file_is_the_callers_and_not_the_overlays_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    Image(tmp_path / "base", format="qcow2").create(MIB)
    Image(tmp_path / "other" / "base", format="qcow2").create(5 * MIB)
    monkeypatch.chdir(tmp_path)
    overlay = Image("other/overlay", format="qcow2")
    overlay.create(backing=Image("base", format="qcow2"))
    info = overlay.info()
    assert info.virtual_size == MIB
    assert info.backing_filename == str(tmp_path / "base")
    assert info.backing_filename_format == "qcow2"
    assert [link.filename for link in overlay.backing_chain()] == [
        str(tmp_path / "other" / "overlay"),
        str(tmp_path / "base"),
    ]


def test_a_backing_file_that_is_not_there_needs_unsafe(tmp_path: Path) -> None:
    overlay, base = (Image(tmp_path / name, format="qcow2") for name in ("overlay", "base"))
    with pytest.raises(ToolError, match="No such file"):
        overlay.create(backing=base)
    assert list(tmp_path.iterdir()) == []
    overlay.create(MIB, backing=base, unsafe=True)
    assert overlay.info().backing_filename == str(tmp_path / "base")


def test_an_image_that_is_there_is_replaced_only_when_told_to(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk", format="raw")
    image.create(512)
    with pytest.raises(UsageError, match="exists"):
        image.create(1024)
    other = Image(tmp_path / "other", format="raw")
    other.create(512)
    with pytest.raises(UsageError, match="exists"):
        other.convert(image)
    assert image.path.stat().st_size == 512
    image.create(1024, replace=True)
    assert image.path.stat().st_size == 1024


def test_an_image_in_use_is_never_replaced(make_image: MakeImage, daemon: StorageDaemon) -> None:
    path = make_image()
    before = path.stat().st_ino
    image = Image(path, format="qcow2")
    daemon.add_node(image.options("disk"))
    with pytest.raises(UsageError, match="in use"):
        image.create(MIB, replace=True)
    assert path.stat().st_ino == before


def test_options_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"CreateQcow2 is not for <raw image .*; it takes CreateRaw$"
    ):
        Image(tmp_path / "disk", format="raw").create(MIB, CreateQcow2())  # type: ignore[arg-type]  # pyright: ignore
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [-1, "10Q", "-1", "", True])
def test_a_size_that_is_none_is_refused_before_anything_runs(
    size: int | str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        Image(tmp_path / "disk", format="raw").create(size)
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_several_files_comes_as_a_whole(tmp_path: Path) -> None:
    image = Image(tmp_path / "disk.vmdk", format="vmdk")
    image.create(MIB, CreateVmdk(subformat="monolithicFlat"))
    assert {path.name for path in tmp_path.iterdir()} == {"disk.vmdk", "disk-flat.vmdk"}
    assert image.info().virtual_size == MIB
    assert image.compare(image, force_share=True).is_equal


def test_a_copy_has_the_content_and_the_options(make_image: MakeImage, tmp_path: Path) -> None:
    source = Image(make_image(write="-P 7 1M 3M"), format="qcow2")
    copy = Image(tmp_path / "copy", format="qcow2")
    source.convert(copy, CreateQcow2(compression_type="zstd"), compress=True, parallel=4)
    assert are_equal(source.path, copy.path)
    assert any(entry.data for entry in copy.map())
    assert (copy.info().actual_size or 0) < MIB
    assert copy.check().compressed_clusters == 48


def test_a_copy_on_a_backing_file_holds_the_difference_only(
    make_image: MakeImage, tmp_path: Path
) -> None:
    base_path = make_image("base", write="-P 7 0 8M")
    top = Image(make_image("top", backing=base_path, write="-P 8 1M 64k"), format="qcow2")
    copy = Image(tmp_path / "copy", format="qcow2")
    top.convert(copy, backing=Image(base_path, format="qcow2"))
    assert copy.compare(top).is_equal
    own = sum(entry.length for entry in copy.map() if entry.depth == 0 and entry.data)
    assert own == 64 << 10


def test_images_are_joined(tmp_path: Path) -> None:
    parts = [Image(tmp_path / name, format="raw") for name in "ab"]
    for part in parts:
        part.path.write_bytes(part.path.name.encode() * 1024)
    whole = Image(tmp_path / "whole", format="raw")
    parts[0].convert(whole, append=parts[1:])
    assert whole.path.read_bytes() == b"a" * 1024 + b"b" * 1024
    with pytest.raises(UsageError, match="several formats"):
        parts[0].start_convert(
            Image(tmp_path / "x", format="raw"), append=[Image(tmp_path / "b", format="qcow2")]
        )


def test_a_snapshot_is_copied_by_its_name(make_image: MakeImage, tmp_path: Path) -> None:
    image = Image(make_image(write="-P 1 0 1M"), format="qcow2")
    image.create_snapshot("a,b")
    write_with_qemu_io(image.path, "write -P 2 0 1M")
    old, new = (Image(tmp_path / name, format="raw") for name in ("old", "new"))
    image.convert(old, snapshot="a,b")
    image.convert(new)
    assert old.path.read_bytes()[:MIB] == b"\1" * MIB
    assert new.path.read_bytes()[:MIB] == b"\2" * MIB


def test_an_existing_target_is_written_in_place(make_image: MakeImage, tmp_path: Path) -> None:
    source = Image(make_image(size="1M", write="-P 7 0 1M"), format="qcow2")
    target = Image(tmp_path / "target", format="raw")
    target.create(MIB)
    before = target.path.stat().st_ino
    source.convert(target, in_place=True, target_is_zero=True)
    assert target.path.stat().st_ino == before
    assert target.path.read_bytes() == b"\7" * MIB
    with pytest.raises(UsageError, match="keeps the options"):
        source.start_convert(target, CreateRaw(preallocation="full"), in_place=True)


def test_bitmaps_go_along(make_image: MakeImage, tmp_path: Path) -> None:
    source = Image(make_image(), format="qcow2")
    source.add_bitmap("b0", granularity="128k")
    copy = Image(tmp_path / "copy", format="qcow2")
    source.convert(copy, bitmaps=True)
    info = copy.info().qcow2
    assert info is not None
    assert [(b.name, b.granularity) for b in info.bitmaps or ()] == [("b0", 128 << 10)]


def test_blocks_are_copied(tmp_path: Path) -> None:
    source, target = (Image(tmp_path / name, format="raw") for name in ("source", "target"))
    source.path.write_bytes(bytes(range(8)) * 512)
    source.dd(target, block_size=512, skip=2, count=3)
    assert target.path.read_bytes() == source.path.read_bytes()[1024 : 5 * 512]


def test_a_copy_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * MIB)
    rule = BlkdebugInjectErrorOptions(event="read_aio", errno=5, sector=1024)
    inner = Blkdebug(image=File(filename=str(tmp_path / "source")), inject_error=[rule])
    target = Image(tmp_path / "target", format="raw")
    target.path.write_bytes(b"old")
    with pytest.raises(ToolError, match=r"error while reading.*Input/output error"):
        Image.from_options(Raw(file=inner)).convert(target, replace=True)
    assert target.path.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_no_space_is_told_and_leaves_nothing(full_disk: Path) -> None:
    with pytest.raises(ToolError, match=f"{full_disk}/disk.*No space left"):
        Image(full_disk / "disk", format="raw").create("8M", CreateRaw(preallocation="full"))
    assert list(full_disk.iterdir()) == []


NAMES = [
    *("a,b=c.img", "nbd:x", "json:{}", "-o", "--help", "with space", "new\nline", "ü☃", "a\tb"),
    *("file:x", "driver=raw", "fat:rw:x", "%s%d", "'\"", "\\", "*", "snapshot.name=x", "~"),
    os.fsdecode(b"not-\xff\xfe-utf-8"),
]


@pytest.mark.parametrize("format", ["raw", "qcow2"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_never_taken_for_more(
    name: str, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _live_through_all_verbs(name, "qcow2" if format == "qcow2" else "raw")
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.copy", f"{name}.top"}


def _live_through_all_verbs(name: str, format: str) -> None:
    """Make, ask, copy, change images of that name, relative to the working directory."""
    image = Image(name, format="qcow2" if format == "qcow2" else "raw")
    copy, top = Image(f"{name}.copy", format="qcow2"), Image(f"{name}.top", format="qcow2")
    image.create(MIB)
    image.convert(copy)
    assert image.compare(copy).is_equal
    top.create(backing=image)
    assert [link.virtual_size for link in top.backing_chain()] == [MIB, MIB]
    top.rebase(copy)
    top.resize("+1M")
    # In JSON, the snapshot's name is shown as UTF-8 whatever it is.
    snapshot = name if name.isprintable() else "s"
    top.create_snapshot(snapshot)
    assert [each.name for each in top.snapshots()] == [snapshot]
    top.apply_snapshot(snapshot)
    assert top.map()[0].length == MIB
    assert top.check().is_clean
    assert image.info().virtual_size == MIB
    assert image.info(untrusted=True).filename == str(Path(name).absolute())
    top.commit()


_CHARACTERS = st.characters(blacklist_characters="/\0", blacklist_categories=())
_NAMES = st.text(_CHARACTERS, min_size=1, max_size=60) | st.binary(min_size=1, max_size=200).map(
    os.fsdecode
)


def _is_file_name(name: str) -> bool:
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return name not in (".", "..") and len(raw) <= 200 and not {0, ord("/")} & set(raw)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=_NAMES.filter(_is_file_name))
def test_any_name_that_a_file_may_have_works(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("names")
    image = Image(folder / name, format="qcow2")
    overlay = Image(folder / "overlay", format="qcow2")
    image.create(MIB)
    overlay.create(backing=image)
    overlay.convert(Image(folder / f"{name[:20]}.raw", format="raw"))
    assert image.info(untrusted=True).virtual_size == MIB
    assert name in os.listdir(folder)  # noqa: PTH208 - a Path would not do for every name
    shutil.rmtree(folder)


def test_a_relative_name_is_that_of_the_folder_it_was_named_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = Image("disk", format="qcow2")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    image.create(MIB)
    assert image.path == tmp_path / "disk"
    assert image.info().virtual_size == MIB
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_a_guest_wrote_into_a_raw_image_is_never_taken_for_a_format(tmp_path: Path) -> None:
    # The header of a qcow2 image that names a backing file, which a guess would follow.
    (tmp_path / "host").write_bytes(b"s" * MIB)
    overlay = Image(tmp_path / "overlay", format="qcow2")
    overlay.create(backing=Image(tmp_path / "host", format="raw"))
    content = overlay.path.read_bytes().ljust(MIB, b"\0")
    (tmp_path / "guest").write_bytes(content)
    guest = Image(tmp_path / "guest", format="raw")
    assert [link.format for link in guest.backing_chain()] == ["raw"]
    copies = [Image(tmp_path / name, format="raw") for name in ("copy", "blocks")]
    guest.convert(copies[0])
    guest.dd(copies[1])
    assert [copy.path.read_bytes() for copy in copies] == [content, content]
    for top in (Image(tmp_path / name, format="qcow2") for name in ("top", "difference", "moved")):
        if top.path.name == "top":
            top.create(backing=guest)
        elif top.path.name == "difference":
            guest.convert(top, backing=guest)
        else:
            top.create(MIB)
            top.rebase(guest)
        assert [link.format for link in top.backing_chain()] == ["qcow2", "raw"]
    with pytest.raises(ToolError, match="Could not create snapshot"):
        guest.create_snapshot("s")
    with pytest.raises(ToolError, match="Can't store persistent bitmaps"):
        guest.add_bitmap("b")
    with pytest.raises(ToolError, match="does not have a backing file"):
        guest.commit()
    with QemuIo(guest, read_only=True) as io, NbdServer(guest, read_only=True) as server:
        assert io.read_data(0, MIB) == content
        with QemuIo(Image.at_uri(server.uri), read_only=True) as client:
            assert client.read_data(0, MIB) == content
    guest.resize("+1M")
    assert guest.path.read_bytes() == content + bytes(MIB)
