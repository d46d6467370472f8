"""Images changed in place."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk import Image, StorageDaemon
from qemu_blocksdk.errors import ToolError, Unsupported, UsageError
from qemu_blocksdk.tools.amendment import AmendQcow2
from tests.live.helpers import MakeImage, are_equal, write_with_qemu_io

MIB = 1 << 20


def bitmaps(image: Image) -> dict[str, list[str]]:
    """The flags of the image's bitmaps, by name."""
    info = image.info().qcow2
    assert info is not None
    return {bitmap.name: list(bitmap.flags) for bitmap in info.bitmaps or ()}


def test_an_image_grows_by_a_size_and_by_a_difference(make_image: MakeImage) -> None:
    image = Image(make_image(size="1M"), format="qcow2")
    image.resize("2M")
    assert image.info().virtual_size == 2 * MIB
    image.resize("+512k")
    assert image.info().virtual_size == 5 * MIB // 2
    image.resize(4 * MIB, preallocation="full")
    assert sum(entry.length for entry in image.map() if entry.data) >= 3 * MIB // 2


def test_an_image_shrinks_only_when_told_to(make_image: MakeImage) -> None:
    image = Image(make_image(size="2M"), format="qcow2")
    with pytest.raises(ToolError, match="shrink"):
        image.resize("-1M")
    image.resize("-1M", shrink=True)
    assert image.info().virtual_size == MIB


@pytest.mark.parametrize("size", [-1, "10Q", "--help", "+-1", "", "+"])
def test_a_new_size_that_is_none_is_refused(size: int | str, make_image: MakeImage) -> None:
    image = Image(make_image(size="1M"), format="qcow2")
    with pytest.raises(UsageError):
        image.resize(size)
    assert image.info().virtual_size == MIB


def test_a_locked_image_is_not_changed(make_image: MakeImage, daemon: StorageDaemon) -> None:
    image = Image(make_image(size="1M"), format="qcow2")
    daemon.add_node(image.options("disk"))
    for verb in (lambda: image.resize("2M"), lambda: image.add_bitmap("b"), image.repair):
        with pytest.raises(ToolError, match="lock"):
            verb()
    assert image.info(force_share=True).virtual_size == MIB


def test_amending_changes_the_options(make_image: MakeImage) -> None:
    image = Image(make_image(), format="qcow2")
    image.amend(AmendQcow2(compat="0.10"))
    info = image.info().qcow2
    assert info is not None
    assert info.compat == "0.10"
    with pytest.raises(UsageError, match="AmendQcow2 is not for"):
        Image(image.path, format="raw").amend(AmendQcow2(compat="1.1"))  # type: ignore[arg-type]  # pyright: ignore


def test_a_commit_goes_into_the_backing_file(make_image: MakeImage) -> None:
    base = make_image("base", write="-P 1 0 1M")
    top = Image(make_image("top", backing=base, write="-P 2 512k 1M"), format="qcow2")
    before = top.map()
    top.commit()
    assert are_equal(top.path, base)
    assert any(entry.depth == 0 and entry.data for entry in before)
    assert not any(entry.depth == 0 and entry.data for entry in top.map())


def test_a_commit_goes_as_deep_as_it_is_told(make_image: MakeImage) -> None:
    base = make_image("base")
    middle = make_image("middle", backing=base, write="-P 1 0 1M")
    top = Image(make_image("top", backing=middle, write="-P 2 1M 1M"), format="qcow2")
    top.commit(base=Image(base, format="qcow2"), rate="1G")
    whole = Image(base, format="qcow2")
    assert sum(entry.length for entry in whole.map() if entry.data) == 2 * MIB


def test_a_rebase_keeps_the_content(make_image: MakeImage) -> None:
    old, new = make_image("old", write="-P 1 0 1M"), make_image("new", write="-P 3 2M 1M")
    top = Image(make_image("top", backing=old, write="-P 2 1M 1M"), format="qcow2")
    before = Image(make_image("before"), format="qcow2")
    top.convert(before, replace=True)
    seen = [step.fraction for step in top.start_rebase(Image(new, format="qcow2")).progress()]
    assert seen[-1] == 1.0
    assert top.info().backing_filename == str(new)
    assert top.compare(before).is_equal
    top.rebase(None)
    assert top.info().backing_filename is None
    assert top.compare(before).is_equal


def test_an_unsafe_rebase_changes_the_name_only(make_image: MakeImage, tmp_path: Path) -> None:
    base = make_image("base")
    top = Image(make_image("top", backing=base), format="qcow2")
    base.rename(tmp_path / "moved")
    top.rebase(Image(tmp_path / "moved", format="qcow2"), unsafe=True)
    assert top.backing_chain()[1].filename == str(tmp_path / "moved")


def test_a_locked_image_becomes_a_backing_file_when_forced(
    make_image: MakeImage, daemon: StorageDaemon
) -> None:
    top, new = (Image(make_image(name), format="qcow2") for name in ("top", "new"))
    daemon.add_node(new.options("new"))
    with pytest.raises(ToolError, match="lock"):
        top.rebase(new)
    top.rebase(new, force_share=True)
    assert top.info().backing_filename == str(new.path)


def test_an_option_that_the_tool_lacks_is_told_by_name(
    make_image: MakeImage, qemu_version: tuple[int, int]
) -> None:
    base = make_image("base", write="-P 1 0 1M")
    top = Image(make_image("top", backing=base), format="qcow2")
    if qemu_version < (8, 2):
        with pytest.raises(Unsupported, match="-c of qemu-img rebase"):
            top.rebase(None, compress=True)
    else:
        top.rebase(None, compress=True)
        assert top.check().compressed_clusters == 16


def test_snapshots_are_made_applied_and_deleted(make_image: MakeImage) -> None:
    image = Image(make_image(write="-P 1 0 64k"), format="qcow2")
    image.create_snapshot("-d")
    write_with_qemu_io(image.path, "write -P 2 0 64k")
    image.apply_snapshot("-d")
    write_with_qemu_io(image.path, "read -P 1 0 64k")
    assert [(s.id, s.name) for s in image.snapshots()] == [("1", "-d")]
    image.delete_snapshot("-d")
    assert image.snapshots() == ()
    with pytest.raises(ToolError, match="nothing"):
        image.apply_snapshot("nothing")


def test_a_snapshot_is_never_made_of_what_a_guess_would_find(make_image: MakeImage) -> None:
    image = Image(make_image(), format="raw")
    with pytest.raises(ToolError, match="not support"):
        image.create_snapshot("s")


def test_bitmaps_are_added_changed_and_removed(make_image: MakeImage, tmp_path: Path) -> None:
    image = Image(make_image(), format="qcow2")
    image.add_bitmap("b0")
    image.add_bitmap("--help", disabled=True, granularity=32768)
    assert bitmaps(image) == {"b0": ["auto"], "--help": []}
    image.disable_bitmap("b0")
    image.enable_bitmap("--help")
    assert bitmaps(image) == {"b0": [], "--help": ["auto"]}
    write_with_qemu_io(image.path, "write 0 64k")
    image.merge_bitmap("b0", "--help")
    image.clear_bitmap("--help")
    other = Image(make_image("other"), format="qcow2")
    other.add_bitmap("copy")
    other.merge_bitmap("copy", "b0", source_image=image)
    image.remove_bitmap("--help")
    assert bitmaps(image) == {"b0": []}
    with pytest.raises(ToolError, match="exists"):
        image.add_bitmap("b0")
