"""Nested options become nodes of their own that behave as they would have inside."""

from __future__ import annotations

from typing import cast

import pytest

from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevCacheOptions,
    BlockdevOptions,
    File,
    NullCo,
    Qcow2,
    Quorum,
    Raw,
    chain,
)
from qemu_blocksdk.blockdev.layers import layers
from qemu_blocksdk.errors import UsageError


def test_named_children_come_first_and_are_referred_to() -> None:
    options = Qcow2(
        node_name="top",
        file=File(node_name="file", filename="t"),
        backing=Qcow2(node_name="base", file=File(filename="b"), backing=NULL),
    )
    found = layers(options)
    assert list(found) == ["file", "base", "top"]
    assert found["top"] == Qcow2(node_name="top", file="file", backing="base")
    base = found["base"]
    assert isinstance(base, Qcow2)
    assert (base.file, base.backing) == (File(filename="b"), NULL)  # it inherits inside


def test_a_name_below_an_unnamed_child_is_found() -> None:
    leaf = NullCo(node_name="leaf", size=1)
    found = layers(Raw(node_name="top", file=Raw(file=leaf)))
    assert list(found) == ["leaf", "top"]
    assert found["top"] == Raw(node_name="top", file=Raw(file="leaf"))


def test_the_children_of_a_list_are_taken_apart_as_well() -> None:
    children: list[NullCo | str] = [NullCo(node_name="a"), "there", NullCo(size=1)]
    found = layers(Quorum(node_name="q", vote_threshold=1, children=children))
    top = found["q"]
    assert isinstance(top, Quorum)
    assert list(top.children) == ["a", "there", NullCo(size=1)]


def test_a_child_is_told_what_it_would_have_inherited() -> None:
    found = layers(
        Qcow2(
            node_name="top",
            force_share=True,
            read_only=True,
            cache=BlockdevCacheOptions(direct=True),
            file=Raw(node_name="raw", file=File(filename="t")),
        )
    )
    raw = found["raw"]
    assert isinstance(raw, Raw)
    assert (raw.force_share, raw.read_only, raw.discard) == (True, True, "unmap")
    assert raw.cache == BlockdevCacheOptions(direct=True)


def test_a_backing_file_is_read_only_and_its_file_until_somebody_writes() -> None:
    base = Qcow2(node_name="base", file=File(node_name="file", filename="b"))
    found = layers(Qcow2(node_name="top", file=File(filename="t"), backing=base))
    layer, file = found["base"], found["file"]
    assert isinstance(layer, Qcow2)
    assert isinstance(file, File)
    assert (layer.read_only, layer.auto_read_only) == (True, False)
    assert (file.read_only, file.auto_read_only) == (None, True)


def test_what_a_child_says_itself_counts() -> None:
    base = Qcow2(
        node_name="base",
        read_only=False,
        discard="ignore",
        file=File(node_name="file", filename="b", read_only=True),
    )
    found = layers(Qcow2(node_name="top", file=File(filename="t"), backing=base))
    layer, file = found["base"], found["file"]
    assert isinstance(layer, Qcow2)
    assert isinstance(file, File)
    assert (layer.read_only, layer.discard) == (False, "ignore")
    assert file.read_only is True


def test_one_child_in_two_places_is_one_node() -> None:
    same = NullCo(node_name="same")
    found = layers(Quorum(node_name="q", vote_threshold=1, children=[same, same]))
    assert list(found) == ["same", "q"]


def test_two_children_of_one_name_are_refused() -> None:
    children = [NullCo(node_name="a", size=1), NullCo(node_name="a", size=2)]
    with pytest.raises(UsageError, match="node_name 'a' stands for two nodes"):
        layers(Quorum(node_name="q", vote_threshold=1, children=children))
    with pytest.raises(UsageError, match="'a' stands for two"):
        layers(Raw(node_name="a", file=NullCo(node_name="a")))


@pytest.mark.parametrize("options", [NullCo(), {"driver": "null-co"}])
def test_options_without_a_name_are_refused(options: object) -> None:
    with pytest.raises(UsageError, match=r"needs a node_name|none of the classes"):
        layers(cast("BlockdevOptions", options))


def test_of_the_cache_options_a_child_inherits_those_that_it_does_not_tell() -> None:
    file = Raw(node_name="raw", file="f", cache=BlockdevCacheOptions(no_flush=False))
    found = layers(
        Qcow2(node_name="top", file=file, cache=BlockdevCacheOptions(direct=True, no_flush=True))
    )
    assert found["raw"].cache == BlockdevCacheOptions(direct=True, no_flush=False)


def test_a_chain_of_five_thousand_is_taken_apart() -> None:
    top = chain([Qcow2(file=File(filename="f"))] * 5000, node_name="disk")
    found = layers(top)
    assert list(found)[::4999] == ["disk-4999", "disk"]
    assert found["disk"] == Qcow2(node_name="disk", file=File(filename="f"), backing="disk-1")
