"""What no QEMU would take is refused with its place inside the options.

What single drivers insist on is in tests/live/test_constraints.py, where QEMU is asked as well.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from qemu_blocksdk.blockdev import (
    NULL,
    BlkdebugInjectErrorOptions,
    BlockdevCacheOptions,
    BlockdevOptions,
    CopyBeforeWrite,
    File,
    NullCo,
    Qcow2,
    Quorum,
    Raw,
    check,
)
from qemu_blocksdk.blockdev.checking import _plainly_right, assert_sound
from qemu_blocksdk.blockdev.reading import assert_known
from qemu_blocksdk.codec import decode, encode
from qemu_blocksdk.errors import BlockSdkError, Unsupported, UsageError
from qemu_blocksdk.schema import snapshots
from tests.unit.blockdev.any_options import any_options


def refused(options: BlockdevOptions, *, qemu: str | None = None) -> str:
    with pytest.raises(BlockSdkError) as caught:
        check(options, qemu=qemu)
    return str(caught.value)


def test_what_is_fine_comes_back_as_json() -> None:
    disk = Qcow2(
        node_name="disk",
        file=File(filename="a", aio="native"),
        cache=BlockdevCacheOptions(direct=True),
        backing=Qcow2(node_name="base", file="base-file", backing=NULL),
    )
    for qemu in (None, "7.2", "10.0", "11.1", "system-7.2", "storage-daemon-11.1"):
        assert check(disk, qemu=qemu) == encode(disk)


def test_two_nodes_of_one_name() -> None:
    disk = Qcow2(
        node_name="disk",
        file=File(filename="a"),
        backing=Raw(file=File(node_name="disk", filename="b")),
    )
    assert refused(disk) == "disk.backing.file.node-name: 'disk' is disk already"
    twins = Quorum(
        vote_threshold=1, children=[NullCo(node_name="twin", size=0), NullCo(node_name="twin")]
    )
    assert refused(twins) in (
        "options.children.0.node-name: 'twin' is options.children.1 already",
        "options.children.1.node-name: 'twin' is options.children.0 already",
    )


def test_a_node_inside_itself() -> None:
    disk = Qcow2(node_name="disk", file="f", backing=Raw(node_name="base", file="disk"))
    assert refused(disk) == "disk.backing.file: 'disk' is disk, which it is in"
    disk = Qcow2(node_name="disk", file="f", backing=Raw(node_name="base", file="base"))
    assert refused(disk) == "disk.backing.file: 'base' is disk.backing, which it is in"
    several = Quorum(node_name="all", vote_threshold=1, children=["one", "all"])
    assert refused(several) == "all.children.1: 'all' is all, which it is in"


def test_the_same_node_may_be_used_twice() -> None:
    shared = NullCo(node_name="one", size=0)
    check(Quorum(node_name="all", vote_threshold=1, children=[shared, "one"]))


def test_what_a_qemu_lacks_is_told_with_who_has_it() -> None:
    disk = Raw(node_name="disk", file=CopyBeforeWrite(file="a", target="b", min_cluster_size=4096))
    with pytest.raises(Unsupported) as caught:
        check(disk, qemu="7.2")
    assert str(caught.value) == (
        "this QEMU has no member 'min-cluster-size' (disk.file.min-cluster-size);"
        " known to storage-daemon-10.0, system-10.0, storage-daemon-11.1, system-11.1"
    )
    assert caught.value.available_in == snapshots.available()[2:]
    check(disk, qemu="10.0")
    check(disk)


def test_what_no_qemu_has_is_told_with_its_place() -> None:
    # A typed program cannot say this; JSON that somebody sent can.
    strange = decode(Raw, {"driver": "raw", "file": {"driver": "file", "filename": "a", "x": 1}})
    assert refused(strange) == "options.file.x: no such member"
    wrong = NullCo(node_name="disk", read_only="yes")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(UsageError, match=r"^disk\.read-only: expected boolean, found string$"):
        check(wrong)


def test_a_value_that_there_is_not() -> None:
    rule = BlkdebugInjectErrorOptions(event="lunch")  # type: ignore[arg-type]  # what is tested
    text = refused(NullCo(node_name="disk").blkdebug(rule).named("debug"))
    assert text.startswith("debug.inject-error.0.event: 'lunch' is none of l1_update, ")


def test_a_qemu_that_is_not_known() -> None:
    with pytest.raises(UsageError, match=r"^no snapshot of QEMU '6\.0'; there are: storage-daem"):
        check(NullCo(), qemu="6.0")


@pytest.mark.parametrize("name", ["", "1a", "a/b", "#block123", "a b", "é", "a" * 32])
def test_a_name_that_no_node_can_have(name: str) -> None:
    place = f"{name or 'options'}.file"
    options = Raw(node_name="top", file=NullCo(node_name=name))
    assert refused(options).startswith(f"top.file.node-name: {name!r} ")
    assert refused(Raw(node_name=name, file="x")).startswith(place.removesuffix("file"))


def test_native_aio_needs_what_a_parent_may_give() -> None:
    native = File(filename="a", aio="native")
    assert refused(native.named("disk")) == "disk.aio: native needs cache.direct=on"
    check(native.cached("none"))
    check(Raw(file=native).cached("none"))
    off = native.evolve(cache=BlockdevCacheOptions(direct=False))
    assert refused(Raw(file=off).cached("none")).startswith("options.file.aio: ")


def test_options_that_are_too_deep_are_refused() -> None:
    options: BlockdevOptions = NullCo(size=0)
    for _ in range(5000):
        options = Raw(file=options)
    assert "nested too deeply" in refused(options)


@given(any_options())
def test_what_needs_no_second_look_is_the_same_with_one(options: BlockdevOptions) -> None:
    plain = _plainly_right(options)
    if plain is not None:
        assert plain == encode(options)
        assert_known(plain)
        assert_sound(plain)


def test_most_options_need_no_second_look() -> None:
    base = Qcow2(node_name="base", file=File(filename="a"), backing=NULL)
    disk = Qcow2(
        node_name="disk",
        file=File(filename="b"),
        data_file=File(filename="c"),
        backing=base,
        lazy_refcounts=True,
    )
    assert _plainly_right(disk) == encode(disk)


@pytest.mark.parametrize("wrong", ["disk", None, {"driver": "raw"}])
def test_what_is_no_options_at_all(wrong: BlockdevOptions) -> None:
    assert "is none of the classes of qemu_blocksdk.blockdev" in refused(wrong)
