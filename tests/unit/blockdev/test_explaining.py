"""What options say, as a tree: what is out of the ordinary shows, and nothing else does."""

from __future__ import annotations

from typing import cast, get_args

import pytest
from hypothesis import given, settings

from qemu_blocksdk.blockdev import (
    NULL,
    BlkdebugInjectErrorOptions,
    BlockdevCacheOptions,
    BlockdevOptions,
    BlockdevQcow2EncryptionLuks,
    File,
    Http,
    Luks,
    Nbd,
    NullCo,
    Qcow2,
    Qcow2OverlapCheckFlags,
    Quorum,
    Raw,
    explain,
)
from qemu_blocksdk.blockdev.defaults import COMMON, OF_DRIVER
from qemu_blocksdk.codec import JsonObject, Unknown, decode
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import BlockdevAdd, SocketAddressInet
from tests.unit.blockdev.any_options import DRIVERS, any_options

SERVER = SocketAddressInet(host="h", port="1")


def test_a_tree_of_nodes_in_the_words_of_qemu() -> None:
    base = Qcow2(node_name="base", file="base-file", backing=NULL)
    disk = Qcow2(
        node_name="disk",
        file=File(filename="/images/my disk.qcow2", aio="native"),
        discard="unmap",
        cache=BlockdevCacheOptions(direct=True),
        encrypt=BlockdevQcow2EncryptionLuks(key_secret="key"),
        backing=base,
    )
    assert explain(disk.throttled("slow")) == (
        """\
[throttle] throttle-group=slow
└─ file: disk [qcow2] cache.direct=on encrypt.format=luks encrypt.key-secret=key
   ├─ file: [file] filename='/images/my disk.qcow2' aio=native
   └─ backing: base [qcow2] backing=null
      └─ file: base-file (by name)"""
    )


def test_the_children_of_a_list_have_their_numbers() -> None:
    quorum = Quorum(node_name="q", vote_threshold=1, children=[NullCo(node_name="a"), "b"])
    assert explain(quorum) == (
        """\
q [quorum] vote-threshold=1
├─ children.0: a [null-co]
└─ children.1: b (by name)"""
    )
    assert explain(quorum.evolve(children=[])) == "q [quorum] vote-threshold=1"


def test_a_default_does_not_show_and_its_opposite_does() -> None:
    usual = File(
        filename="f",
        read_only=False,
        discard="ignore",
        cache=BlockdevCacheOptions(direct=False, no_flush=False),
        locking="auto",
        drop_cache=True,
    )
    assert explain(usual) == "[file] filename=f"
    assert explain(usual.evolve(drop_cache=False)) == "[file] filename=f drop-cache=off"
    assert explain(NullCo(size=1 << 30, latency_ns=0)) == "[null-co]"
    assert explain(NullCo(size=0)) == "[null-co] size=0"


def test_a_default_inside_a_member_does_not_show() -> None:
    checks = Qcow2OverlapCheckFlags(template="cached", main_header=False)
    assert explain(Qcow2(file="f", overlap_check="cached")).startswith("[qcow2]\n")
    assert "] overlap-check.main-header=off\n" in explain(Qcow2(file="f", overlap_check=checks))
    rule = BlkdebugInjectErrorOptions(event="none", errno=5, once=True)
    assert explain(Raw(file="f").blkdebug(rule)).startswith(
        "[blkdebug] inject-error.0.event=none inject-error.0.once=on\n"
    )


@pytest.mark.parametrize(
    ("parent", "child", "shown"),
    [
        ({}, {"discard": "unmap"}, ""),
        ({}, {"discard": "ignore"}, " discard=ignore"),
        ({"read_only": True}, {"read_only": True}, ""),
        ({"read_only": True}, {"read_only": False}, " read-only=off"),
        ({"read_only": True}, {}, ""),
        (
            {"cache": BlockdevCacheOptions(direct=True, no_flush=True)},
            {"cache": BlockdevCacheOptions(direct=True, no_flush=False)},
            " cache.no-flush=off",
        ),
    ],
)
def test_a_child_shows_what_it_does_not_inherit(
    parent: dict[str, object], child: dict[str, object], shown: str
) -> None:
    inner = File(filename="f").evolve(**child)  # type: ignore[arg-type]  # by name, for brevity
    outer = Raw(file=inner).evolve(**parent)  # type: ignore[arg-type]
    assert explain(outer).splitlines()[1] == f"└─ file: [file] filename=f{shown}"


def test_a_backing_node_is_read_only_without_a_word() -> None:
    def backing(**told: bool) -> str:
        return explain(Qcow2(file="f", backing=NullCo(**told))).splitlines()[-1]  # type: ignore[arg-type]

    assert backing() == backing(read_only=True) == "└─ backing: [null-co]"
    assert backing(read_only=False) == "└─ backing: [null-co] read-only=off"


def test_what_is_inherited_goes_on_to_grandchildren() -> None:
    cache = BlockdevCacheOptions(direct=True)
    inner = Raw(file=File(filename="f", cache=cache), cache=BlockdevCacheOptions(no_flush=True))
    assert explain(Raw(file=inner, cache=cache)) == (
        """\
[raw] cache.direct=on
└─ file: [raw] cache.no-flush=on
   └─ file: [file] filename=f"""
    )


def test_equal_options_say_the_same() -> None:
    one, other = Nbd(server=SERVER, export="x", open_timeout=1), decode(Nbd, {"open-timeout": 1})
    other = other.evolve(export="x", server=SERVER)
    assert one == other
    assert explain(one) == explain(other)


def test_no_secret_shows() -> None:
    shown = explain(Http(url="http://me:hush@host/disk", cookie="session=hush"))
    assert shown == "[http] url=http://me:***@host/disk cookie=***"
    assert "hush" not in explain(File(filename='json:{"password": "hush"}'))


@pytest.mark.parametrize(
    ("text", "shown"), [("", "''"), ("a b", "'a b'"), ("a\nb", r"'a\nb'"), ("é", "é"), ("=", "=")]
)
def test_a_text_shows_where_it_ends(text: str, shown: str) -> None:
    assert explain(File(filename=text)) == f"[file] filename={shown}"


def test_a_detached_header_is_a_child() -> None:
    assert explain(Luks(file="f", header=File(filename="h"), key_secret="k")) == (
        """\
[luks] key-secret=k
├─ file: f (by name)
└─ header: [file] filename=h"""
    )


def test_what_a_newer_qemu_knows_shows_as_it_is() -> None:
    json: JsonObject = {"driver": "future", "node-name": "n", "file": {"driver": "file"}, "x": [1]}
    options = decode(BlockdevAdd, {"options": {"driver": "raw", "file": json}}).options
    assert isinstance(options, Raw)
    assert isinstance(options.file, Unknown)
    assert explain(options).splitlines()[1] == "└─ file: n [future] file.driver=file x.0=1"


def test_a_chain_of_a_thousand_is_a_thousand_lines() -> None:
    top: BlockdevOptions = NullCo()
    for _ in range(1000):
        top = Qcow2(file="f", backing=top)
    assert len(explain(top).splitlines()) == 2001


def test_what_is_no_options_is_refused() -> None:
    for wrong in (BlockdevCacheOptions(), "disk", SocketAddressInet(host="h", port="1"), None):
        with pytest.raises(UsageError, match="none of the classes"):
            explain(cast("BlockdevOptions", wrong))


@pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: cast("str", kind.__name__))
def test_options_of_each_driver_are_explained(kind: type[BlockdevOptions]) -> None:
    @settings(max_examples=20, deadline=None)
    @given(any_options(kind))
    def check(value: BlockdevOptions) -> None:
        first = explain(value).splitlines()[0]
        assert f"[{value.driver}]" in first

    check()


def test_every_default_is_of_a_member_that_there_is() -> None:
    kinds = cast("tuple[type[BlockdevOptions], ...]", get_args(BlockdevOptions))
    members = {str(kind.driver): kind.__annotations__ for kind in kinds}
    for driver, usual in OF_DRIVER.items():
        for place in usual:
            assert place.partition(".")[0].replace("-", "_") in members[driver]
    for place in COMMON:
        assert all(place.partition(".")[0].replace("-", "_") in each for each in members.values())
