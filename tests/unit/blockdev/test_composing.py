"""Options made out of others: nothing is changed in place, a filter goes over what it got."""

from __future__ import annotations

import inspect
from typing import cast, get_args

import pytest

from qemu_blocksdk.blockdev import (
    NULL,
    BackedOptions,
    BlkdebugInjectErrorOptions,
    BlkdebugSetStateOptions,
    BlockdevCacheOptions,
    BlockdevOptions,
    CacheMode,
    DriverOptions,
    File,
    Qcow2,
)
from qemu_blocksdk.codec import decode, encode

DRIVERS = cast("tuple[type[DriverOptions], ...]", get_args(BlockdevOptions))
DISK = Qcow2(node_name="disk", file=File(filename="a"))


def test_other_members_are_those_of_a_copy() -> None:
    other = DISK.evolve(discard="unmap", backing=NULL, node_name=None)
    assert other == Qcow2(file=File(filename="a"), discard="unmap", backing=NULL)
    assert Qcow2(node_name="disk", file=File(filename="a")) == DISK
    assert encode(DISK.evolve(lazy_refcounts=True)) == {**encode(DISK), "lazy-refcounts": True}


def test_a_member_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Qcow2 has no member 'filename'; did you mean 'file'\?$"):
        DISK.evolve(filename="b")  # type: ignore[call-arg]  # what is tested
    with pytest.raises(TypeError, match=r"^Qcow2 has no member 'driver'$"):
        DISK.evolve(driver="raw")  # type: ignore[call-arg]  # what is tested


def test_what_only_a_newer_qemu_knows_stays() -> None:
    newer = decode(File, {"driver": "file", "filename": "a", "colour": "green"})
    assert encode(newer.named("disk")) == {
        "driver": "file",
        "filename": "a",
        "node-name": "disk",
        "colour": "green",
    }


@pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: cast("str", kind.__name__))
def test_every_driver_takes_its_own_members_and_no_method_hides_one(
    kind: type[DriverOptions],
) -> None:
    methods = {
        name for name, _ in inspect.getmembers(DriverOptions, inspect.isfunction) if name[0] != "_"
    }
    assert kind.__annotations__.keys().isdisjoint(methods | {"evolve", "with_backing"})
    assert issubclass(kind, BackedOptions) == ("backing" in kind.__annotations__)


def test_a_chain_is_one_over_another() -> None:
    base = Qcow2(file=File(filename="base"), backing=NULL)
    assert DISK.with_backing(base).backing == base
    assert DISK.with_backing("base").backing == "base"
    assert DISK.with_backing(NULL).backing is NULL


def test_a_name_and_read_only() -> None:
    assert DISK.named("other").node_name == "other"
    assert DISK.named(None).node_name is None
    assert DISK.as_read_only().read_only is True


@pytest.mark.parametrize(
    ("mode", "direct", "no_flush"),
    [
        ("writeback", False, False),
        ("none", True, False),
        ("writethrough", False, False),
        ("directsync", True, False),
        ("unsafe", False, True),
    ],
)
def test_a_cache_mode_is_what_it_says_of_a_node(
    mode: CacheMode, direct: bool, no_flush: bool
) -> None:
    assert DISK.cached(mode).cache == BlockdevCacheOptions(direct=direct, no_flush=no_flush)


def test_filters_go_over_what_they_are_given() -> None:
    inner = encode(DISK)
    assert encode(DISK.throttled("group")) == {
        "driver": "throttle",
        "throttle-group": "group",
        "file": inner,
    }
    assert encode(DISK.copy_before_write("target").evolve(cbw_timeout=5)) == {
        "driver": "copy-before-write",
        "file": inner,
        "target": "target",
        "cbw-timeout": 5,
    }
    assert encode(DISK.copy_on_read()) == {"driver": "copy-on-read", "file": inner}
    assert encode(DISK.compress()) == {"driver": "compress", "file": inner}
    assert encode(DISK.preallocate()) == {"driver": "preallocate", "file": inner}


def test_rules_of_blkdebug_go_where_they_belong() -> None:
    error = BlkdebugInjectErrorOptions(event="read_aio", state=2, errno=5)
    state = BlkdebugSetStateOptions(event="flush_to_os", state=1, new_state=2)
    assert encode(DISK.blkdebug(error, state)) == {
        "driver": "blkdebug",
        "image": encode(DISK),
        "inject-error": [{"event": "read_aio", "state": 2, "errno": 5}],
        "set-state": [{"event": "flush_to_os", "state": 1, "new_state": 2}],
    }
    assert encode(DISK.blkdebug()) == {"driver": "blkdebug", "image": encode(DISK)}
