"""Images of any options, any content, through any sequence of changes: against the real tools."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from qemu_blocksdk import Image
from qemu_blocksdk.errors import ToolError
from qemu_blocksdk.tools import (
    CreateParallels,
    CreateQcow2,
    CreateQed,
    CreateRaw,
    CreateVdi,
    CreateVhdx,
    CreateVmdk,
    CreationOptions,
    ImageFormat,
)
from qemu_blocksdk.tools.size import to_bytes

KIB = 1 << 10
MIB = 1 << 20
T = TypeVar("T")
pytestmark = pytest.mark.timeout(120)
_quick = settings(max_examples=120, deadline=None)


def in_a_folder(check: Callable[[Path], T]) -> T:
    """Run a check in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return check(Path(folder))


def maybe(values: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    """A value, or none given."""
    return st.none() | values


QCOW2 = st.builds(
    CreateQcow2,
    compat=maybe(st.sampled_from(["0.10", "1.1", "v2", "v3"])),
    cluster_size=maybe(st.sampled_from([512, 1000, "4k", "64K", 2 * MIB, 4 * MIB])),
    extended_l2=maybe(st.booleans()),
    refcount_bits=maybe(st.sampled_from([1, 2, 4, 8, 16, 32, 64])),
    lazy_refcounts=maybe(st.booleans()),
    compression_type=maybe(st.sampled_from(["zlib", "zstd"])),
    preallocation=maybe(st.sampled_from(["off", "metadata", "falloc", "full"])),
)
OTHERS = st.one_of(
    st.builds(CreateRaw, preallocation=maybe(st.sampled_from(["off", "falloc", "full"]))),
    st.builds(CreateVdi, static=maybe(st.booleans())),
    st.builds(
        CreateVmdk,
        subformat=maybe(
            st.sampled_from(["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse"])
        ),
        adapter_type=maybe(st.sampled_from(["ide", "lsilogic", "buslogic"])),
        compat6=maybe(st.booleans()),
    ),
    st.builds(CreateVhdx, subformat=maybe(st.sampled_from(["dynamic", "fixed"]))),
    st.builds(CreateParallels, cluster_size=maybe(st.sampled_from([64 * KIB, MIB]))),
    st.builds(CreateQed, cluster_size=maybe(st.sampled_from([4 * KIB, 64 * KIB]))),
)


@_quick
@given(size=st.integers(0, 64 * MIB), options=QCOW2)
def test_a_qcow2_image_has_the_options_or_was_not_made(size: int, options: CreateQcow2) -> None:
    def check(folder: Path) -> None:
        image = Image(folder / "disk", format="qcow2")
        try:
            image.create(size, options)
        except ToolError as error:
            event("refused")
            if str(folder / "disk") not in error.output or list(folder.iterdir()):
                raise
            return
        event("made")
        info = image.info()
        qcow2 = info.qcow2
        assert qcow2 is not None
        # In whole sectors.
        assert info.virtual_size == -(-size // 512) * 512
        is_old = options.compat in ("0.10", "v2")
        assert qcow2.compat == ("0.10" if is_old else "1.1")
        assert qcow2.refcount_bits == (options.refcount_bits or 16)
        assert qcow2.compression_type == (options.compression_type or "zlib")
        if not is_old:
            assert qcow2.lazy_refcounts == bool(options.lazy_refcounts)
            assert qcow2.extended_l2 == bool(options.extended_l2)
        assert info.cluster_size == to_bytes(options.cluster_size or 65536)
        assert image.check().is_clean

    in_a_folder(check)


EXTENTS = st.lists(
    st.tuples(st.integers(0, 4 * MIB // 512 - 1), st.integers(1, 300), st.integers(0, 255)),
    max_size=6,
)


@_quick
@given(extents=EXTENTS, options=QCOW2 | OTHERS, compress=st.booleans())
def test_content_goes_through_any_format_unchanged(
    extents: list[tuple[int, int, int]], options: CreationOptions, compress: bool
) -> None:
    def check(folder: Path) -> None:
        content = bytearray(4 * MIB)
        for sector, count, byte in extents:
            content[sector * 512 : (sector + count) * 512] = bytes([byte]) * (count * 512)
        del content[4 * MIB :]
        source = Image(folder / "source", format="raw")
        source.path.write_bytes(content)
        there = Image(folder / "there", format=options.format)
        try:
            source.convert(there, options, compress=compress)
        except ToolError:
            # Options that do not go together, or a format without compression.
            event("refused")
            assert list(folder.iterdir()) == [source.path]
            return
        event("copied")
        back = Image(folder / "back", format="raw")
        there.convert(back)
        assert source.compare(there).is_equal
        found = back.path.read_bytes()
        # Some formats round the size up.
        assert found[: len(content)] == content
        assert not any(found[len(content) :])

    in_a_folder(check)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("resize"), st.integers(1, 64)),
        st.tuples(st.just("create_snapshot"), st.integers(0, 2)),
        st.tuples(st.just("delete_snapshot"), st.integers(0, 2)),
        st.tuples(st.just("add_bitmap"), st.integers(0, 2)),
        st.tuples(st.just("remove_bitmap"), st.integers(0, 2)),
        st.tuples(st.just("disable_bitmap"), st.integers(0, 2)),
        st.tuples(st.just("enable_bitmap"), st.integers(0, 2)),
    ),
    max_size=12,
)


class Model:
    """What an image should have."""

    def __init__(self) -> None:
        self.size = MIB
        self.snapshots: list[str] = []
        self.bitmaps: dict[str, bool] = {}

    def must_fail(self, what: str, name: str) -> bool:
        """Tell whether a change is about something that is not there, or is there already."""
        match what:
            case "delete_snapshot":
                return name not in self.snapshots
            case "add_bitmap":
                return name in self.bitmaps
            case "remove_bitmap" | "disable_bitmap" | "enable_bitmap":
                return name not in self.bitmaps
            case _:
                return False

    def change(self, what: str, name: str, number: int) -> None:
        """Make the change."""
        match what:
            case "resize":
                self.size = number * MIB
            case "create_snapshot":
                self.snapshots.append(name)
            case "delete_snapshot":
                self.snapshots.remove(name)
            case "remove_bitmap":
                del self.bitmaps[name]
            case _:
                self.bitmaps[name] = what != "disable_bitmap"


def change(image: Image, what: str, name: str, number: int) -> None:
    """Have the image changed."""
    match what:
        case "resize":
            image.resize(number * MIB, shrink=True)
        case "create_snapshot":
            image.create_snapshot(name)
        case "delete_snapshot":
            image.delete_snapshot(name)
        case "add_bitmap":
            image.add_bitmap(name)
        case "remove_bitmap":
            image.remove_bitmap(name)
        case "disable_bitmap":
            image.disable_bitmap(name)
        case _:
            image.enable_bitmap(name)


@settings(max_examples=40, deadline=None)
@given(changes=CHANGES)
def test_changes_are_made_or_refused_and_nothing_in_between(changes: list[tuple[str, int]]) -> None:
    def check(folder: Path) -> None:
        image, model = Image(folder / "disk", format="qcow2"), Model()
        image.create(MIB)
        for what, number in changes:
            name = f"n{number}"
            try:
                change(image, what, name, number)
            except ToolError:
                # Of the rest, only a new size may be refused: snapshots and bitmaps forbid some.
                assert model.must_fail(what, name) or what == "resize"
            else:
                assert not model.must_fail(what, name)
                model.change(what, name, number)
            info = image.info()
            assert info.qcow2 is not None
            found = {bitmap.name: "auto" in bitmap.flags for bitmap in info.qcow2.bitmaps or ()}
            assert found == model.bitmaps
            assert [snapshot.name for snapshot in info.snapshots or ()] == model.snapshots
            assert info.virtual_size == model.size
        assert image.check().is_clean

    in_a_folder(check)


def test_every_pair_of_formats_is_converted(tmp_path: Path) -> None:
    formats: tuple[ImageFormat, ...] = (
        *("qcow2", "raw", "vdi", "vmdk", "vhdx", "parallels", "qed"),
    )
    source = Image.create_marked(tmp_path / "marked", MIB)
    for first, second in itertools.permutations(formats, 2):
        one = Image(tmp_path / first, format=first)
        other = Image(tmp_path / second, format=second)
        source.convert(one, replace=True)
        one.convert(other, replace=True)
        assert source.compare(other).is_equal
