"""A chain is made of its layers: each over the next, the lowest over nothing."""

from __future__ import annotations

from typing import cast

import pytest

from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevOptions,
    File,
    NullCo,
    Qcow2,
    Qed,
    Quorum,
    Raw,
    Throttle,
    chain,
    check,
    quorum,
)
from qemu_blocksdk.blockdev.chains import layer_name
from qemu_blocksdk.errors import UsageError

TOP = Qcow2(file=File(filename="top"))
MID = Qed(file=File(filename="mid"))
BASE = Qcow2(file=File(filename="base"), discard="unmap")


def test_each_layer_is_over_the_next_and_the_lowest_over_nothing() -> None:
    assert chain([TOP, MID, BASE]) == TOP.with_backing(MID.with_backing(BASE.with_backing(NULL)))
    assert chain([TOP]) == TOP.with_backing(NULL)


def test_the_lowest_may_have_no_backing_at_all_or_say_what_it_is() -> None:
    assert chain([TOP, Raw(file="f")]) == TOP.with_backing(Raw(file="f"))
    assert chain([TOP, BASE.with_backing("shared")]) == TOP.with_backing(
        BASE.with_backing("shared")
    )
    assert chain([TOP, BASE.with_backing(NULL)]) == TOP.with_backing(BASE.with_backing(NULL))
    assert chain([NullCo()]) == NullCo()


def test_what_a_layer_was_over_is_forgotten() -> None:
    assert chain([TOP.with_backing("other"), BASE]) == chain([TOP, BASE])


def test_the_layers_are_called_by_their_number() -> None:
    assert chain([TOP, MID, BASE], node_name="disk") == (
        TOP.named("disk").with_backing(
            MID.named("disk-1").with_backing(BASE.named("disk-2").with_backing(NULL))
        )
    )
    assert chain([TOP.named("a"), BASE]).node_name == "a"


@pytest.mark.parametrize(
    ("number", "name"), [(0, "n" * 31), (1, "n" * 29 + "-1"), (1000, "n" * 26 + "-1000")]
)
def test_a_name_has_room_for_the_number(number: int, name: str) -> None:
    assert layer_name("n" * 31, number) == name
    assert len(name) <= 31


def test_two_layers_of_one_name_are_refused_where_options_are_checked() -> None:
    with pytest.raises(UsageError, match="already"):
        check(chain([TOP, BASE], node_name="n" * 29 + "-1"))


def test_a_layer_without_backing_is_over_nothing() -> None:
    with pytest.raises(UsageError, match=r"^layer 1 is raw, which has no backing$"):
        chain([TOP, Raw(file="f"), BASE])
    with pytest.raises(UsageError, match=r"^layer 0 is throttle, which has no backing$"):
        chain([Throttle(file=TOP, throttle_group="g"), BASE])


def test_what_is_no_chain_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^a chain needs a layer$"):
        chain([])
    with pytest.raises(UsageError, match="'base' is none of the classes"):
        chain([TOP, cast("BlockdevOptions", "base")])


def test_a_chain_of_five_thousand_layers_is_one() -> None:
    top = chain([TOP] * 5000, node_name="disk")
    count = 0
    below: object = top
    while isinstance(below, Qcow2):
        below, count = below.backing, count + 1
    assert (count, below) == (5000, NULL)


def test_more_than_half_of_a_quorum_decide() -> None:
    one, two = NullCo(node_name="one"), NullCo(node_name="two")
    assert quorum(one, two, "three") == Quorum(children=[one, two, "three"], vote_threshold=2)
    assert [quorum(*["n"] * count).vote_threshold for count in (1, 2, 4, 5)] == [1, 2, 3, 3]
    assert quorum(one, two, vote_threshold=1).vote_threshold == 1
    with pytest.raises(UsageError, match="a quorum needs children"):
        quorum()
