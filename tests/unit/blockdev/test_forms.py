"""Options as texts: what is written is read again, and what is wrong is named by its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qemu_blocksdk.blockdev import (
    NULL,
    BlockdevCacheOptions,
    BlockdevOptions,
    CopyBeforeWrite,
    File,
    Http,
    NullCo,
    Qcow2,
    Quorum,
    Raw,
    flatten,
    from_blockdev,
    from_filename,
    from_image_opts,
    from_json,
    to_blockdev,
    to_filename,
    to_image_opts,
    to_json,
    to_opts,
)
from qemu_blocksdk.codec import JsonValue, encode
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.wire import QueryJobs
from tests.unit.blockdev.any_options import any_of, drivers

SNAPSHOTS = ("system-7.2", "system-10.0", "system-11.1")
EVERY_DRIVER = [(kind, snapshot) for snapshot in SNAPSHOTS for kind in drivers(snapshot)]
SECRET = "hunter2"


def refused(read: Callable[[str], object], text: str) -> str:
    """The one sentence with which a text is refused."""
    with pytest.raises(UsageError) as caught:
        read(text)
    return str(caught.value)


# -- round trips ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "snapshot"), EVERY_DRIVER, ids=lambda each: getattr(each, "driver", each)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_form_of_every_driver_is_read_as_it_was_written(
    kind: type[BlockdevOptions], snapshot: str, data: st.DataObject
) -> None:
    options = cast("BlockdevOptions", data.draw(any_of(kind, snapshot)))
    assert from_json(to_json(options)) == options
    assert from_json(encode(options)) == options
    assert from_blockdev(to_blockdev(options)) == options
    assert from_filename(to_filename(options)) == options
    if only_in_json(encode(options)):
        with pytest.raises(UsageError, match="no form on a command line but JSON"):
            to_image_opts(options)
        with pytest.raises(UsageError, match="no form on a command line but JSON"):
            to_blockdev(options, dotted=True)
    else:
        assert from_blockdev(to_blockdev(options, dotted=True)) == options
        assert from_image_opts(to_image_opts(options)) == options


def only_in_json(value: JsonValue, name: str = "") -> bool:
    """Whether dotted names cannot say it: what is empty, a node by an empty name."""
    if isinstance(value, dict):
        return not value or any(only_in_json(item, key) for key, item in value.items())
    if isinstance(value, list):
        return not value or any(map(only_in_json, value))
    return name == "backing" and value == ""


def test_the_strategy_reaches_every_driver() -> None:
    assert {kind.driver for kind, _ in EVERY_DRIVER} >= {"qcow2", "nbd", "rbd", "ssh", "quorum"}
    assert len(drivers("system-10.0")) > 35


# -- what the forms look like -----------------------------------------------------------

DISK = Qcow2(
    node_name="disk",
    file=File(filename="a,b=c", locking="off"),
    backing=NULL,
    lazy_refcounts=False,
    cache_size=4096,
)


def test_the_forms_are_what_qemu_takes() -> None:
    members = {
        "driver": "qcow2",
        "file": {"driver": "file", "filename": "a,b=c", "locking": "off"},
        "node-name": "disk",
        "backing": None,
        "lazy-refcounts": False,
        "cache-size": 4096,
    }
    word = (
        "driver=qcow2,node-name=disk,file.driver=file,file.filename=a,,b=c,file.locking=off,"
        "backing=,lazy-refcounts=off,cache-size=4096"
    )
    assert json.loads(to_json(DISK)) == members
    assert json.loads(to_blockdev(DISK)) == members
    assert json.loads(to_filename(DISK).removeprefix("json:")) == members
    assert to_blockdev(DISK, dotted=True) == word
    assert to_image_opts(DISK) == word


def test_the_driver_may_come_first_without_its_name_in_blockdev_alone() -> None:
    assert from_blockdev("null-co,node-name=n") == NullCo(node_name="n")
    assert "part 1 is not name=value" in refused(from_image_opts, "null-co,node-name=n")
    assert "part 2 is not name=value" in refused(from_blockdev, "node-name=n,null-co")


def test_json_may_have_the_quotes_that_qemu_allows() -> None:
    text = r"""{'driver': 'null-co', "node-name": 'it\'s "n" \\'}"""
    assert from_json(text) == NullCo(node_name='it\'s "n" \\')
    assert from_json(r"""{"driver": "null-co", "node-name": "it\'s"}""") == NullCo(node_name="it's")


@pytest.mark.parametrize("text", ["on", "yes", "true", "y"])
def test_every_yes_is_true(text: str) -> None:
    assert from_blockdev(f"null-co,read-zeroes={text}") == NullCo(read_zeroes=True)


@pytest.mark.parametrize("text", ["off", "no", "false", "n"])
def test_every_no_is_false(text: str) -> None:
    assert from_image_opts(f"driver=null-co,read-zeroes={text}") == NullCo(read_zeroes=False)


@pytest.mark.parametrize("text", ["True", "1", "", "ON", "maybe"])
def test_nothing_else_is_a_boolean(text: str) -> None:
    assert refused(from_blockdev, f"null-co,read-zeroes={text}") == (
        "options.read-zeroes: expected boolean, found string"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("0x1F", 31), ("010", 8), (" 12", 12), ("+12", 12), ("-3", -3), ("0", 0), ("-0x10", -16)],
)
def test_an_integer_may_be_written_as_in_c(text: str, number: int) -> None:
    assert from_blockdev(f"null-co,latency-ns={text}") == NullCo(latency_ns=number)


@pytest.mark.parametrize(
    "text", ["", "12 ", "1e3", "0x", "08", "1_0", "٣", "1k", str(1 << 64), "9" * 5000]
)
def test_nothing_else_is_an_integer(text: str) -> None:
    assert refused(from_blockdev, f"null-co,size={text}") == (
        "options.size: expected int, found string"
    )


def test_a_size_may_have_a_suffix_where_qemu_takes_one() -> None:
    assert from_image_opts("driver=null-co,size=1.5M") == NullCo(size=3 << 19)
    assert from_image_opts("driver=null-co,size=010") == NullCo(size=10)
    assert from_image_opts("driver=null-co,size=0x10") == NullCo(size=16)
    assert refused(from_image_opts, "driver=null-co,latency-ns=1k").startswith("options.latency-ns")
    options = CopyBeforeWrite(file="f", target="t", min_cluster_size=65536)
    assert from_blockdev("copy-before-write,file=f,target=t,min-cluster-size=64k") == options


def test_a_name_that_is_not_utf8_is_for_dotted_names() -> None:
    options = File(node_name="f", filename="\udcff")
    for write in (to_json, to_blockdev, to_filename):
        with pytest.raises(UsageError, match=r"f\.filename: is not UTF-8"):
            write(options)
    assert from_blockdev(to_blockdev(options, dotted=True)) == options
    assert from_image_opts(to_image_opts(options)) == options
    with pytest.raises(UsageError, match=r"f\.filename: is not UTF-8"):
        to_image_opts(File(node_name="f", filename="\ud800"))  # half a character, and no byte


@pytest.mark.parametrize("write", [to_json, to_blockdev, to_filename, to_image_opts])
def test_a_nul_has_no_form(write: Callable[[BlockdevOptions], str]) -> None:
    with pytest.raises(UsageError, match=r"disk\.file\.filename: QEMU has no text with a NUL"):
        write(Raw(node_name="disk", file=File(filename="a\0b")))


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (Quorum(node_name="q", vote_threshold=1, children=[]), "q.children"),
        (Raw(file=NullCo(cache=BlockdevCacheOptions())), "options.file.cache"),
        (Raw(node_name="r", file=Qcow2(file="f", backing="")), "r.file.backing"),
    ],
)
def test_what_only_json_can_say_is_refused_by_dotted_names(
    options: BlockdevOptions, place: str
) -> None:
    assert from_json(to_json(options)) == options
    with pytest.raises(UsageError, match="no form on a command line but JSON") as caught:
        to_image_opts(options)
    assert str(caught.value).startswith(f"{place}: ")


@pytest.mark.parametrize("wrong", ["disk", None, {"driver": "null-co"}, NullCo])
def test_what_is_no_options_is_not_written(wrong: object) -> None:
    with pytest.raises(UsageError, match="none of the classes"):
        to_json(wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# -- flat names -------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.", max_size=2), inner),
    max_leaves=10,
)


def reference(value: JsonValue, name: str, found: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What ``flatten`` promises, the plain way."""
    if isinstance(value, dict):
        for key, item in value.items():
            reference(item, f"{name}{key}.", found)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            reference(item, f"{name}{number}.", found)
    else:
        found[name[:-1]] = value
    return found


@given(ANY_JSON)
def test_flat_names_are_those_of_iotests(value: JsonValue) -> None:
    assert list(flatten(value).items()) == list(reference(value, "", {}).items())


def test_null_stays_and_what_is_empty_vanishes() -> None:
    assert flatten({"a": None, "b": {}, "c": [], "d": [{"e": False}, "x"]}) == {
        "a": None,
        "d.0.e": False,
        "d.1": "x",
    }
    assert flatten(5) == {"": 5}


def test_json_as_one_word_doubles_commas() -> None:
    assert to_opts({"a": "x,y", "b": [{"c": True}, 5], "d": {}}) == "a=x,,y,b.0.c=on,b.1=5"
    assert to_opts({}) == ""
    with pytest.raises(UsageError, match="a: null has no form"):
        to_opts({"a": None})


def test_a_command_is_no_options() -> None:
    with pytest.raises(UsageError):
        from_json(to_json(cast("BlockdevOptions", QueryJobs())))


def test_a_cookie_is_written_as_it_is() -> None:
    options = Http(url="http://h/x", cookie=SECRET)
    assert SECRET in to_image_opts(options)
    assert SECRET not in repr(options)


def test_a_file_name_may_have_texts_and_dotted_names_as_qemu_makes_them() -> None:
    name = (
        'json:{"driver": "qcow2", "lazy-refcounts": "on", "cache-size": "1M", "backing": null,'
        ' "file.driver": "null-co", "file.size": "4096"}'
    )
    expected = Qcow2(file=NullCo(size=4096), lazy_refcounts=True, cache_size=1 << 20, backing=NULL)
    assert from_filename(name) == expected
    assert "options.file: has both a value and members" in refused(
        from_filename, 'json:{"driver": "raw", "file": "a", "file.driver": "null-co"}'
    )
    assert "options.cache-size: expected int, found string" in refused(
        from_json, '{"driver": "qcow2", "file": "f", "cache-size": "1M"}'
    )
