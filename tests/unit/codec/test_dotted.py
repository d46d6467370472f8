"""Options in QEMU's dotted notation."""

from __future__ import annotations

import pytest

from qemu_blocksdk.blockdev import NULL, File, NullCo, Qcow2, Quorum
from qemu_blocksdk.codec import Struct, Unknown, dotted, doubled, keyval
from qemu_blocksdk.errors import UsageError


def test_members_of_members_are_named_by_their_path() -> None:
    options = Qcow2(
        node_name="top",
        lazy_refcounts=True,
        cache_size=4096,
        file=File(filename="a,b=c", locking="off"),
        backing="base",
    )
    assert dotted(options) == {
        "driver": "qcow2",
        "node-name": "top",
        "lazy-refcounts": "on",
        "cache-size": "4096",
        "file.driver": "file",
        "file.filename": "a,b=c",
        "file.locking": "off",
        "backing": "base",
    }


def test_items_of_a_list_are_named_by_their_number() -> None:
    quorum = Quorum(vote_threshold=1, children=["a", NullCo(size=512)])
    found = dotted(quorum)
    assert found["children.0"] == "a"
    assert found["children.1.driver"] == "null-co"
    assert found["children.1.size"] == "512"


@pytest.mark.parametrize(
    "options",
    [
        Qcow2(file="f", backing=NULL),
        Quorum(vote_threshold=1, children=[]),
        Unknown(tag=None, members={"a": {"b": {}}}),
        Unknown(tag=None, members={}),
    ],
)
def test_what_only_json_can_say_is_refused(options: Struct) -> None:
    with pytest.raises(UsageError, match="no form on a command line but JSON"):
        dotted(options)


def test_commas_are_doubled_in_one_word() -> None:
    assert keyval({"file": "a,b,,c", "id": "d=e", "on": True, "off": False, "n": 7}) == (
        "file=a,,b,,,,c,id=d=e,on=on,off=off,n=7"
    )
    assert keyval({}) == ""
    assert doubled("a,b") == "a,,b"
